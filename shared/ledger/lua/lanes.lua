-- Count what waits on each lane of a shard, and what was handed over, without reading more where there is more.
--
-- ARGV: how many ms after its time an entry of the schedule is overdue, then lanes.
-- Answer, per lane: {overdue entries, then for each priority, the most urgent first: rows that wait, rows that are handed
-- over and not claimed, for how many ms the one that is next has been due, -1 where none waits}.

local overdue_at, answer = now - tonumber(ARGV[1]), {}

local function number_of(...)
  local found = redis.pcall(...)
  -- What is something else than it should be is the audit's to report.
  return type(found) == 'number' and found or 0
end

local function next_has_waited(ready)
  local found = redis.pcall('ZRANGE', ready, 0, 0)
  local id, key = string.match(not found.err and found[1] or '', '^([^|]+)|(.+)$')
  if not id then return -1 end
  local text = redis.pcall('HGET', record_key(id), 's:' .. key)
  local row = read_row(type(text) == 'string' and text or '')
  return row and math.max(0, now - row.born) or 0
end

for i = 2, #ARGV do
  local lane = ARGV[i]
  local counts = {number_of('ZCOUNT', base .. ':due:' .. lane, '-inf', overdue_at)}
  for _, priority in ipairs({'critical', 'high', 'normal', 'low'}) do
    local name = lane .. ':' .. priority
    local ready = base .. ':ready:' .. name
    counts[#counts + 1] = number_of('ZCARD', ready)
    counts[#counts + 1] = number_of('ZCARD', base .. ':out:' .. name)
    counts[#counts + 1] = next_has_waited(ready)
  end
  answer[#answer + 1] = counts
end
return answer
