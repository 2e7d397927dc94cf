-- Take what is due or whose lease has lapsed, or will be shortly, so that it is published when its time has come. Each
-- row taken is looked at next after a grace that doubles with every time it is taken unclaimed: a backlog is not multiplied by its own re-drives. A lane whose
-- jobs nobody takes has no backlog at the broker, and is only probed; then the grace stays as it is, so that nothing has
-- to wait long once somebody is there.
--
-- ARGV: lane, most rows, ms to look ahead, probe 0|1, grace ms per priority (low, normal, high, critical).
-- Answer: a list of {id, key, priority, content, spec, ms until it is due}.

local lane, most, ahead, probe = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local grace = {low = tonumber(ARGV[5]), normal = tonumber(ARGV[6]), high = tonumber(ARGV[7]), critical = tonumber(ARGV[8])}
local LONGEST_DOUBLING = 6
local schedule = base .. ':due:' .. lane
local answer = {}
local found_due = redis.call('ZRANGEBYSCORE', schedule, '-inf', now + ahead, 'WITHSCORES', 'LIMIT', 0, most)
for i = 1, #found_due, 2 do
  local member, due = found_due[i], math.max(now, tonumber(found_due[i + 1]))
  local id, key = string.match(member, '^(.-)|(.*)$')
  local record = record_key(id)
  local found = redis.call('HMGET', record, 's:' .. key, 'c', 'd:' .. key)
  if not found[1] then
    redis.call('ZREM', schedule, member)
  else
    local row = read_row(found[1])
    redis.call('ZADD', schedule, due + grace[row.priority] * 2 ^ math.min(row.redrives, LONGEST_DOUBLING), member)
    if not probe then
      row.redrives = row.redrives + 1
      write_row(record, key, row)
    end
    answer[#answer + 1] = {id, key, row.priority, found[2], found[3], due - now}
  end
end
return answer
