-- Reads a user's inbox.
-- ARGV: pending or the sequence after which entries are wanted, most, tenant or '', limit, retention_s
local base = KEYS[1]
prune(base, 'inbox', tonumber(ARGV[4]), tonumber(ARGV[5]))
return snapshot(base, ARGV[1], tonumber(ARGV[2]), ARGV[3])
