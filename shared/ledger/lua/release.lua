-- Make rows due soon that wait for a time in which something has changed, one after the other: somebody whose quiet time
-- changes again and again must not keep the router from what it does for others. What is in somebody's hands, has ended or
-- is due by then stays as it is.
--
-- ARGV: lane, ms from now until the first of them, ms between two of them, then "id|key" of each row.
-- Answer: how many were moved.

local lane, due, step, released = ARGV[1], now + tonumber(ARGV[2]), tonumber(ARGV[3]), 0
local schedule = base .. ':due:' .. lane
for i = 4, #ARGV do
  local member = ARGV[i]
  local id, key = string.match(member, '^(.-)|(.*)$')
  local record = record_key(id or '')
  local found = id and read_fields(record, 's:' .. key, 'd:' .. key)
  local row = found and read_row(found[1])
  if row and row.lane == lane and row.state == 'p' and row.due > due then
    row.due = due
    write_row(record, key, row)
    -- Whoever performs it goes by the time that stands there. Within a text of JSON these characters do not occur.
    redis.call('HSET', record, 'd:' .. key, (string.gsub(found[2] or '', '"due_ms":%d+', '"due_ms":' .. number(due), 1)))
    -- A sweep that looked ahead may have handed it over already.
    redis.call('ZREM', base .. ':out:' .. lane .. ':' .. row.priority, member)
    redis.call('ZADD', schedule, due, member)
    due, released = due + step, released + 1
  end
end
return released
