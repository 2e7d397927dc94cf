-- Note what is held for a user, and forget what was held until a time that is over.
--
-- KEYS[1]: the user's index, a zset of "id|key" by the time until which a row is held, in ms.
-- ARGV: pairs of that time and "id|key".

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now))
for i = 1, #ARGV, 2 do redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1]) end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if last[2] then redis.call('PEXPIREAT', KEYS[1], string.format('%d', tonumber(last[2]) + 60000)) end
return #ARGV / 2
