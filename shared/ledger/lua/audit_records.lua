-- Read the rows that became due in one minute from the records themselves, a page of each record.
--
-- ARGV: minute, fields per page, then pairs of notification id and cursor ('0' to begin).
-- Answer, per pair: {next cursor, rows, unscheduled, faults}. rows is a list of "STATE|LANE|KEY"; unscheduled holds the
--   lanes of those of them that are open and unknown to the schedule; faults are of the record as a whole: 'missing',
--   'unreadable' (it, or a row of it, cannot be read),
--   'open_count' (it counts its open rows wrongly, so it expires too early or never) or 'expiring' (it will be
--   forgotten although something is open). A page of several says nothing about the number of open rows.

local minute, fields = tonumber(ARGV[1]), tonumber(ARGV[2])
local answer = {}
for i = 3, #ARGV, 2 do
  local id, cursor = ARGV[i], ARGV[i + 1]
  local record, rows, unscheduled, faults, open = record_key(id), {}, {}, {}, 0
  local page = redis.pcall('HSCAN', record, cursor, 'MATCH', 's:*', 'COUNT', fields)
  local is_hash = not page.err
  if not is_hash then
    page = {'0', {}}
    faults[#faults + 1] = 'unreadable'
  end
  for j = 1, #page[2], 2 do
    local key, row = string.sub(page[2][j], 3), read_row(page[2][j + 1])
    local is_open = row and (row.state == 'p' or row.state == 's')
    if is_open then open = open + 1 end
    if not row then
      faults[#faults + 1] = 'unreadable'
    elseif math.floor(row.born / 60000) == minute then
      rows[#rows + 1] = row.state .. '|' .. row.lane .. '|' .. key
      if is_open and not redis.call('ZSCORE', base .. ':due:' .. row.lane, id .. '|' .. key) then
        unscheduled[#unscheduled + 1] = row.lane
      end
    end
  end
  if is_hash and cursor == '0' then
    local counted = redis.call('HGET', record, 'open')
    if not counted then
      faults[#faults + 1] = 'missing'
    elseif page[1] == '0' and tonumber(counted) ~= open then
      faults[#faults + 1] = 'open_count'
    end
  end
  if open > 0 and redis.call('TTL', record) >= 0 then
    faults[#faults + 1] = 'expiring'
  end
  answer[#answer + 1] = {page[1], rows, unscheduled, faults}
end
return answer
