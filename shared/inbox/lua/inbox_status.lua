-- Keeps the current system status, unless a later one is there. ARGV: accepted_ms, frame
-- Returns: 1 if this one is the current status.
local key = KEYS[1] .. ':status'
local known = redis.call('GET', key)
if known and tonumber(string.match(known, '^%d+') or '0') > tonumber(ARGV[1]) then
  return 0
end
redis.call('SET', key, ARGV[1] .. '\n' .. ARGV[2])
return 1
