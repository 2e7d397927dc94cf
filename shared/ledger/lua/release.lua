-- Make rows due now that wait for a time in which something has changed. What is in somebody's hands, has ended or is due
-- stays as it is.
--
-- ARGV: lane, then "id|key" of each row.
-- Answer: how many are due now.

local lane, released = ARGV[1], 0
local schedule = base .. ':due:' .. lane
for i = 2, #ARGV do
  local member = ARGV[i]
  local id, key = string.match(member, '^(.-)|(.*)$')
  local record = record_key(id or '')
  local found = id and read_fields(record, 's:' .. key)
  local row = found and read_row(found[1])
  if row and row.lane == lane and row.state == 'p' and row.due > now then
    row.due = now
    write_row(record, key, row)
    -- A sweep that looked ahead may have handed it over already.
    redis.call('ZREM', base .. ':out:' .. lane .. ':' .. row.priority, member)
    redis.call('ZADD', schedule, now, member)
    released = released + 1
  end
end
return released
