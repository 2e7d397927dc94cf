-- Count one delivery against a cap within a sliding window: each is a member with the time at which it was counted, so a
-- delivery that is tried again is not counted again.
--
-- KEYS[1]: the cap's key. ARGV: delivery, most, window ms.
-- Answer: 1 when it may go, 0 when the cap is reached.

local delivery, most, window_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window_ms)
if redis.call('ZSCORE', KEYS[1], delivery) then
  return 1
end
if redis.call('ZCARD', KEYS[1]) >= most then
  return 0
end
redis.call('ZADD', KEYS[1], now, delivery)
redis.call('PEXPIRE', KEYS[1], window_ms)
return 1
