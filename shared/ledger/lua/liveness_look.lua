-- Return which sources are to be looked at, and of which the router is to be told something.
--
-- ARGV: how many of each at most; after how many ms without a look beats may wait at the broker; how long after that no
-- source is missed, at most, in ms.
-- Answer: {now, 1 where there may be more, due, tell}; due holds {source, score, state, beat, patience, died} of each, and
-- tell {source, incident, phase, says, beat, gone}.

local most, away, comeback = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local watch = base .. ':watch'
local seen, resumed = unpack(redis.call('HMGET', watch, 'seen', 'resumed'))
if seen and now - tonumber(seen) > away then
  resumed = number(now)
  redis.call('HSET', watch, 'resumed', resumed)
end
redis.call('HSET', watch, 'seen', number(now))

local found = redis.call('ZRANGEBYSCORE', due, '-inf', number(now), 'WITHSCORES', 'LIMIT', 0, most)
local looked = {}
for i = 1, #found, 2 do
  local source = found[i]
  local state, beat, patience, died = read(source, 'state', 'beat', 'patience', 'died')
  local from = (tonumber(resumed) or 0) + math.min(tonumber(patience) or 0, comeback)
  if not state then
    redis.call('ZREM', due, source)
  elseif now < from then
    redis.call('ZADD', due, number(from), source)
  else
    table.insert(looked, {source, number(tonumber(found[i + 1])), state, beat or '0', patience or '0', died or ''})
  end
end

local untold = redis.call('ZRANGEBYSCORE', tell, '-inf', number(now), 'LIMIT', 0, most)
local telling = {}
for _, source in ipairs(untold) do
  local incident, phase, says, beat, gone = read(source, 'incident', 'phase', 'says', 'beat', 'gone')
  if phase then
    table.insert(telling, {source, incident, phase, says or '', beat or '0', gone or ''})
  else
    redis.call('ZREM', tell, source)
  end
end
local is_full = #found >= 2 * most or #untold >= most
return {number(now), is_full and 1 or 0, looked, telling}
