-- Take what is due or whose lease has lapsed, so that it is published again. Each row taken is looked at next after a
-- grace that doubles with every time it is taken unclaimed: a backlog is not multiplied by its own re-drives.
--
-- ARGV: lane, most rows, grace ms per priority (low, normal, high, critical).
-- Answer: a list of {id, key, priority, content, spec}.

local lane, most = ARGV[1], tonumber(ARGV[2])
local grace = {low = tonumber(ARGV[3]), normal = tonumber(ARGV[4]), high = tonumber(ARGV[5]), critical = tonumber(ARGV[6])}
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
    row.redrives = row.redrives + 1
    write_row(record, key, row)
    answer[#answer + 1] = {id, key, row.priority, found[2], found[3]}
  end
end
return answer
