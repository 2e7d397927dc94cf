-- Write down that a process is alive, and forget those that were last heard of long ago.
--
-- KEYS[1]: the service's base key.
-- ARGV: the process, what it says of itself ('' when it ends), for how many ms it is remembered, how many are at most.
-- Times are milliseconds of the store's own clock.

local said, heard = KEYS[1], KEYS[1] .. ':heard'
local process, text, kept_ms, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function forget(processes)
  if #processes > 0 then
    redis.call('ZREM', heard, unpack(processes))
    redis.call('HDEL', said, unpack(processes))
  end
end

if text == '' then return forget({process}) end
redis.call('ZADD', heard, now, process)
redis.call('HSET', said, process, text)
forget(redis.call('ZRANGEBYSCORE', heard, '-inf', now - kept_ms, 'LIMIT', 0, 100))
local too_many = redis.call('ZCARD', heard) - most
if too_many > 0 then forget(redis.call('ZRANGE', heard, 0, math.min(100, too_many) - 1)) end
redis.call('PEXPIRE', heard, kept_ms)
redis.call('PEXPIRE', said, kept_ms)
