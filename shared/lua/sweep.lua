-- Take what is due or whose lease has lapsed, so that it is published again. Each row taken is looked at next after a
-- grace that doubles with every time it is taken unclaimed: a backlog is not multiplied by its own re-drives. A lane whose
-- jobs nobody takes has no backlog at the broker, and is only probed; then the grace stays as it is, so that nothing has
-- to wait long once somebody is there.
--
-- ARGV: lane, most rows, probe 0|1, grace ms per priority (low, normal, high, critical).
-- Answer: a list of {id, key, priority, content, spec}.

local lane, most, probe = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local grace = {low = tonumber(ARGV[4]), normal = tonumber(ARGV[5]), high = tonumber(ARGV[6]), critical = tonumber(ARGV[7])}
local LONGEST_DOUBLING = 6
local schedule = base .. ':due:' .. lane
local answer = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', schedule, '-inf', now, 'LIMIT', 0, most)) do
  local id, key = string.match(member, '^(.-)|(.*)$')
  local record = record_key(id)
  local found = redis.call('HMGET', record, 's:' .. key, 'c', 'd:' .. key)
  if not found[1] then
    redis.call('ZREM', schedule, member)
  else
    local row = read_row(found[1])
    redis.call('ZADD', schedule, now + grace[row.priority] * 2 ^ math.min(row.redrives, LONGEST_DOUBLING), member)
    if not probe then
      row.redrives = row.redrives + 1
      write_row(record, key, row)
    end
    answer[#answer + 1] = {id, key, row.priority, found[2], found[3]}
  end
end
return answer
