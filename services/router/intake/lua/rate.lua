-- Count publishes of one publisher in a sliding window. One that was counted before is let in and counts once.
--
-- KEYS[1]: base; base:rate is a zset of a publish's name by when it was first let in, in ms.
-- ARGV: most in a window, the window in ms, then the names.
-- Answer: {ms until the next one is let in, the places (from 0) of those that are refused}.

local key, most, window_ms = KEYS[1] .. ':rate', tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%d', now - window_ms))
local counted, added, refused = redis.call('ZCARD', key), 0, {}
for i = 3, #ARGV do
  if counted < most then
    local is_new = redis.call('ZADD', key, 'NX', string.format('%d', now), ARGV[i])
    counted, added = counted + is_new, added + is_new
  elseif not redis.call('ZSCORE', key, ARGV[i]) then
    refused[#refused + 1] = i - 3
  end
end
if added > 0 then
  redis.call('PEXPIRE', key, string.format('%d', window_ms))
end
local wait_ms = 0
if #refused > 0 then
  -- A rate that was lowered lets the next one in when all above it have left.
  local oldest = redis.call('ZRANGE', key, counted - most, counted - most, 'WITHSCORES')
  wait_ms = oldest[2] and math.max(0, oldest[2] + window_ms - now) or window_ms
end
return {wait_ms, refused}
