-- Put away open rows that a service could not read.
--
-- ARGV: lane, then pairs of notification id and row key.
-- Answer: how many were put away now.

local lane, count = ARGV[1], 0
for i = 2, #ARGV, 2 do
  local id, key = ARGV[i], ARGV[i + 1]
  local found = read_fields(record_key(id), 's:' .. key)
  local row = found and read_row(found[1])
  if (not row or is_open(row)) and redis.call('ZSCORE', base .. ':due:' .. lane, id .. '|' .. key) then
    count = count + (quarantine(lane, id, key) and 1 or 0)
  end
end
return count
