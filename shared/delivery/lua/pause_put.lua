-- Write what is paused, if it is still as it was read, and take out what was over long ago.
--
-- KEYS[1]: hash of name -> JSON with until_ms.
-- ARGV: name, text as it was read ('' for none), new text, ms since 1970 before which an end is forgotten.
-- Answer: 1 where it was written, 0 where somebody else has written meanwhile.

if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
local found = redis.call('HGETALL', KEYS[1])
for i = 1, #found, 2 do
  local until_ms = tonumber(string.match(found[i + 1], '"until_ms": ?(%d+)') or 0)
  if until_ms < tonumber(ARGV[4]) then redis.call('HDEL', KEYS[1], found[i]) end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
