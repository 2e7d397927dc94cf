-- Count the open rows of a shard and find since when the oldest has been due, without reading more with more rows.
--
-- The previous release counts in base:age:LANE alone. While it runs beside us, or has run since, what we keep beside that
-- differs from it or from the schedule, in which each open row stands once; then it is made anew from base:age:LANE, and
-- only then is all of that read. What still differs after that is the audit's to report, and no reason to read it again.
--
-- ARGV: lanes.
-- Answer, per lane: {open rows, age of the oldest in ms}.

local totals = base .. ':open'

local function count_anew(lane)
  local ages, since = redis.call('HGETALL', base .. ':age:' .. lane), base .. ':since:' .. lane
  redis.call('UNLINK', since)
  local open, scores = 0, {}
  for i = 1, #ages, 2 do
    open = open + count_of(ages[i + 1])
    scores[#scores + 1], scores[#scores + 2] = ages[i], ages[i]
  end
  for i = 1, #scores, MOST_ARGS do
    redis.call('ZADD', since, unpack(scores, i, math.min(i + MOST_ARGS - 1, #scores)))
  end
  redis.call('HSET', totals, lane, open, lane .. ':unscheduled', open - redis.call('ZCARD', base .. ':due:' .. lane))
  return open
end

-- Return the second of the oldest, or nil.
local function oldest(lane)
  local ages, since = base .. ':age:' .. lane, base .. ':since:' .. lane
  while true do
    local second = redis.call('ZRANGE', since, 0, 0)[1]
    if not second or redis.call('HEXISTS', ages, second) == 1 then return second end
    redis.call('ZREM', since, second)
  end
end

-- Of most lanes nothing is open, on most shards. Then neither is there a schedule nor are there seconds.
local function is_empty(lane)
  return redis.call('EXISTS', base .. ':due:' .. lane, base .. ':age:' .. lane, base .. ':since:' .. lane) == 0
end

local function count(lane)
  local known = redis.call('HMGET', totals, lane, lane .. ':unscheduled')
  local open, unscheduled = count_of(known[1]), count_of(known[2])
  local second = oldest(lane)
  if open - redis.call('ZCARD', base .. ':due:' .. lane) ~= unscheduled
    or redis.call('HLEN', base .. ':age:' .. lane) ~= redis.call('ZCARD', base .. ':since:' .. lane) then
    open = count_anew(lane)
    second = oldest(lane)
  end
  return {open, math.max(0, now - tonumber(second or now / 1000) * 1000)}
end

local answer = {}
for i, lane in ipairs(ARGV) do answer[i] = is_empty(lane) and {0, 0} or count(lane) end
return answer
