-- Note that the router knows of an incident's beginning or end, or that it is to be told later.
--
-- ARGV: source, incident, what was told (opening or closing), ms after which it is to be told again, or '' where it knows.
-- Answer: 1 noted; 2 noted, and its end is to be told next; 0 somebody else has.

local source, incident, phase, later = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local last, now_at, over, gone = read(source, 'incident', 'phase', 'over', 'gone')
if last ~= incident or now_at ~= phase then return 0 end
if later ~= '' then
  redis.call('ZADD', tell, number(now + tonumber(later)), source)
  return 1
end
if phase == 'closing' then
  redis.call('HDEL', key_of(source), 'phase', 'says')
  redis.call('ZREM', tell, source)
  if gone then redis.call('DEL', key_of(source)) end
elseif over then
  redis.call('HSET', key_of(source), 'phase', 'closing')
  redis.call('HDEL', key_of(source), 'over')
  redis.call('ZADD', tell, number(now), source)
  return 2
else
  redis.call('HSET', key_of(source), 'phase', 'open')
  redis.call('ZREM', tell, source)
end
return 1
