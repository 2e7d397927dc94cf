-- Put away open rows that a service could not read.
--
-- ARGV: lane, retention s, then pairs of notification id and row key.
-- Answer: for each pair 1 when it was put away now, else 0.

local lane, retention_s, answer = ARGV[1], tonumber(ARGV[2]), {}
for i = 3, #ARGV, 2 do
  local id, key = ARGV[i], ARGV[i + 1]
  local found = read_fields(record_key(id), 's:' .. key)
  local row = found and read_row(found[1])
  local is_ours = (not row or is_open(row)) and redis.call('ZSCORE', base .. ':due:' .. lane, id .. '|' .. key)
  if is_ours then
    quarantine(lane, id, key, retention_s)
  end
  answer[#answer + 1] = is_ours and 1 or 0
end
return answer
