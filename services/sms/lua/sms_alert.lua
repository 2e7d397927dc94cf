-- Write down that an alert is sent to a number, and give it a short number by which it can be answered.
--
-- The number of an alert stays the same, however often it is sent. Numbers go round, and one that an alert still has is
-- left out: whoever answers an old message must not take another alert.
--
-- KEYS[1]: the base key of a telephone number. ARGV: alert, how many alerts are kept, highest number, retention s.
-- Answer: the alert's number.

local alert, kept, highest, retention_s = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local alerts, numbers = KEYS[1] .. ':alerts', KEYS[1] .. ':alert_numbers'
-- A field that is no alert's.
local LAST = ''
local clock = redis.call('TIME')

redis.call('ZADD', alerts, clock[1] + clock[2] / 1000000, alert)
for _, old in ipairs(redis.call('ZRANGE', alerts, 0, -kept - 1)) do
  redis.call('ZREM', alerts, old)
  redis.call('HDEL', numbers, old)
end
local number = redis.call('HGET', numbers, alert)
if not number then
  local taken = {}
  for _, each in ipairs(redis.call('HVALS', numbers)) do
    taken[tonumber(each)] = true
  end
  number = tonumber(redis.call('HGET', numbers, LAST) or 0)
  repeat
    number = number % highest + 1
  until not taken[number]
  redis.call('HSET', numbers, alert, number, LAST, number)
end
redis.call('EXPIRE', alerts, retention_s)
redis.call('EXPIRE', numbers, retention_s)
return tonumber(number)
