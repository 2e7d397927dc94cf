-- Compare the open rows of each lane with its schedule, in which each of them stands once, and find what nobody looks at.
--
-- ARGV: up to which time in ms an entry is overdue, then lanes.
-- Answer, per lane: {open rows, entries, overdue entries, time of the earliest entry in ms or 0}.

-- The count is wrong for a moment where the previous release has written (open_work.lua); so only where it says that
-- something is amiss are the rows counted by their seconds.
local function open_rows(lane, entries)
  local open = count_of(redis.call('HGET', base .. ':open', lane))
  if open == entries then return open end
  open = 0
  for _, count in ipairs(redis.call('HVALS', base .. ':age:' .. lane)) do open = open + count_of(count) end
  return open
end

local overdue_at, answer = ARGV[1], {}
for i = 2, #ARGV do
  local schedule = base .. ':due:' .. ARGV[i]
  local entries = redis.call('ZCARD', schedule)
  local earliest = redis.call('ZRANGE', schedule, 0, 0, 'WITHSCORES')
  answer[#answer + 1] = {
    open_rows(ARGV[i], entries), entries, redis.call('ZCOUNT', schedule, '-inf', overdue_at),
    tonumber(earliest[2] or 0),
  }
end
return answer
