-- Look at open rows themselves: those that nobody has swept, those past their deadline, those whose lease lapsed long
-- ago, and entries of the schedule that stand for no open row.
--
-- ARGV: lane, up to which time in ms a row is overdue, most, cursor ('' for those that are due first, '0' to begin with all).
-- Answer: {next cursor, rows looked at, then {kind, id, time in ms since when} ...}; cursor '0' is the end.

local lane, overdue_at, most, cursor = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local schedule, entries = base .. ':due:' .. lane, nil
if cursor == '' then
  entries, cursor = redis.call('ZRANGE', schedule, 0, most - 1, 'WITHSCORES'), '0'
else
  local page = redis.call('ZSCAN', schedule, cursor, 'COUNT', most)
  cursor, entries = page[1], page[2]
end

local answer = {cursor, #entries / 2}
for i = 1, #entries, 2 do
  local id, key = string.match(entries[i], '^(.-)|(.*)$')
  local due = tonumber(entries[i + 1])
  local found = id and read_fields(record_key(id), 's:' .. key)
  local row = found and read_row(found[1])
  id = id or ''
  if not row or (row.state ~= 'p' and row.state ~= 's') then
    answer[#answer + 1] = {'stray', id, 0}
  elseif due <= overdue_at then
    answer[#answer + 1] = {'unswept', id, due}
  elseif row.state == 's' and row.due <= overdue_at then
    answer[#answer + 1] = {'lease_lapsed', id, row.due}
  elseif row.state == 'p' and row.expires <= overdue_at then
    answer[#answer + 1] = {'past_expiry', id, row.expires}
  end
end
return answer
