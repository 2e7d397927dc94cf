-- Do what the watch has decided of a source that was due, unless it was heard of since.
--
-- ARGV: source, its score when it was looked at, then open and how it is told, or inhibit and when to look again, or wait
-- and when, or forget.
-- Answer: 1 done; 0 it is another matter now.

local source, score, what = ARGV[1], ARGV[2], ARGV[3]
local found = redis.call('ZSCORE', due, source)
if not found or tonumber(found) ~= tonumber(score) then return 0 end

if what == 'forget' then
  forget(source)
  return 1
end
local state, phase, last = read(source, 'state', 'phase', 'incident')
if what == 'wait' or what == 'inhibit' then
  redis.call('ZADD', due, ARGV[4], source)
  if what == 'inhibit' then put_state(source, state, 'inhibited') end
  return 1
end
if phase then
  -- The end of the one before has not been told yet.
  redis.call('ZADD', due, number(now + 1000), source)
  return 0
end
local incident = math.max(now, (tonumber(last) or 0) + 1)
redis.call('HSET', key_of(source), 'phase', 'opening', 'incident', number(incident), 'says', ARGV[4])
redis.call('ZREM', due, source)
redis.call('ZADD', tell, number(now), source)
put_state(source, state, 'open')
return 1
