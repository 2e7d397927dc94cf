-- Compare, for each minute and lane, the rows that were created with those that ended and those that are open.
--
-- ARGV: first minute, last minute, then lanes.
-- Answer: {totals, unbalanced, busy}. totals holds for each lane in turn {created, delivered, suppressed, expired,
--         dead_lettered, open}; unbalanced is a list of {minute, lane, the same six numbers}; busy are the minutes of
--         which anything is known.

local WORDS = {'created', 'delivered', 'suppressed', 'expired', 'dead_lettered'}
local OPEN = #WORDS + 1
local first, last = tonumber(ARGV[1]), tonumber(ARGV[2])

-- Count the open rows of a lane in these seconds, by minute.
local function count_seconds(lane, seconds)
  local by_minute = {}
  for from = 1, #seconds, MOST_ARGS do
    local upto = math.min(from + MOST_ARGS - 1, #seconds)
    local counts = redis.call('HMGET', base .. ':age:' .. lane, unpack(seconds, from, upto))
    for i = from, upto do
      local minute, count = math.floor(tonumber(seconds[i]) / 60), counts[i - from + 1]
      if count then by_minute[minute] = (by_minute[minute] or 0) + tonumber(count) end
    end
  end
  return by_minute
end

local function open_rows(lane)
  return count_seconds(lane, redis.call('ZRANGEBYSCORE', base .. ':since:' .. lane, first * 60, last * 60 + 59))
end

-- Count the open rows of one minute without base:since:LANE, which lacks what the previous release has opened lately.
local function open_rows_of(lane, minute)
  local seconds = {}
  for second = minute * 60, minute * 60 + 59 do seconds[#seconds + 1] = number(second) end
  return count_seconds(lane, seconds)[minute] or 0
end

-- Twice what was created, less everything: what was created and stands nowhere.
local function difference(numbers)
  local left = 2 * numbers[1]
  for i = 1, OPEN do left = left - numbers[i] end
  return left
end

local lanes, totals, open, field_of = {}, {}, {}, {}
for i = 3, #ARGV do
  local lane = ARGV[i]
  lanes[#lanes + 1] = lane
  totals[#lanes] = {0, 0, 0, 0, 0, 0}
  open[#lanes] = open_rows(lane)
  for j, word in ipairs(WORDS) do field_of[lane .. '|' .. word] = {#lanes, j} end
end

-- Whether anything is known of some of these minutes. At rest nothing is, and this is all that is asked.
local BLOCK = 60

local function is_known(from, upto)
  local names = {}
  for minute = from, upto do
    for lane = 1, #lanes do
      if open[lane][minute] then return true end
    end
    names[#names + 1] = base .. ':tally:' .. number(minute)
    names[#names + 1] = base .. ':born:' .. number(minute)
  end
  return redis.call('EXISTS', unpack(names)) > 0
end

local unbalanced, busy = {}, {}

local function compare(minute)
  local text = number(minute)
  local flat, numbers = redis.call('HGETALL', base .. ':tally:' .. text), {}
  if #flat > 0 or redis.call('EXISTS', base .. ':born:' .. text) == 1 then
    busy[#busy + 1] = minute
  end
  for i = 1, #flat, 2 do
    local field = field_of[flat[i]]
    if field then
      local lane = field[1]
      numbers[lane] = numbers[lane] or {0, 0, 0, 0, 0, 0}
      numbers[lane][field[2]] = tonumber(flat[i + 1]) or 0
    end
  end
  for lane = 1, #lanes do
    local opened, of_lane = open[lane][minute], numbers[lane]
    if opened or of_lane then
      of_lane = of_lane or {0, 0, 0, 0, 0, 0}
      of_lane[OPEN] = opened or 0
      if difference(of_lane) ~= 0 then of_lane[OPEN] = open_rows_of(lanes[lane], minute) end
      local total = totals[lane]
      for i = 1, OPEN do total[i] = total[i] + of_lane[i] end
      if difference(of_lane) ~= 0 then
        unbalanced[#unbalanced + 1] = {minute, lanes[lane], unpack(of_lane)}
      end
    end
  end
end

for from = first, last, BLOCK do
  local upto = math.min(from + BLOCK - 1, last)
  if is_known(from, upto) then
    for minute = from, upto do compare(minute) end
  end
end
return {totals, unbalanced, busy}
