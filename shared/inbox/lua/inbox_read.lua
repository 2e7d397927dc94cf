-- Reads a user's inbox. ARGV: pending or the sequence after which entries are wanted, most, limit, retention_s
local base = KEYS[1]
prune(base, 'inbox', tonumber(ARGV[3]), tonumber(ARGV[4]))
return snapshot(base, ARGV[1], tonumber(ARGV[2]))
