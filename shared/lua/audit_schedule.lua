-- Compare the open rows of each lane with its schedule, in which each of them stands once, and find what nobody looks at.
--
-- ARGV: up to which time in ms an entry is overdue, then lanes.
-- Answer, per lane: {open rows, entries, overdue entries, time of the earliest entry in ms or 0}.

local overdue_at, answer = ARGV[1], {}
for i = 2, #ARGV do
  local open, schedule = 0, base .. ':due:' .. ARGV[i]
  for _, count in ipairs(redis.call('HVALS', base .. ':age:' .. ARGV[i])) do open = open + tonumber(count) end
  local earliest = redis.call('ZRANGE', schedule, 0, 0, 'WITHSCORES')
  answer[#answer + 1] = {
    open, redis.call('ZCARD', schedule), redis.call('ZCOUNT', schedule, '-inf', overdue_at),
    tonumber(earliest[2] or 0),
  }
end
return answer
