-- Compare, for each minute and lane, the rows that were created with those that ended and those that are open.
--
-- ARGV: first minute, last minute, then lanes.
-- Answer: {totals, unbalanced, busy}. totals holds for each lane in turn {created, delivered, suppressed, expired,
--         dead_lettered, open}; unbalanced is a list of {minute, lane, the same six numbers}; busy are the minutes of
--         which anything is known.

local WORDS = {'created', 'delivered', 'suppressed', 'expired', 'dead_lettered'}
local OPEN = #WORDS + 1
local first, last = tonumber(ARGV[1]), tonumber(ARGV[2])

-- Return the open rows of a lane by minute.
local function open_rows(lane)
  local key, by_minute = base .. ':age:' .. lane, {}
  local function add(second, count)
    local minute = math.floor(second / 60)
    if count and minute >= first and minute <= last then
      by_minute[minute] = (by_minute[minute] or 0) + tonumber(count)
    end
  end
  -- Whichever reads less: all seconds that have open rows, or all seconds of these minutes.
  if redis.call('HLEN', key) <= 60 * (last - first + 1) then
    local all = redis.call('HGETALL', key)
    for i = 1, #all, 2 do add(tonumber(all[i]), all[i + 1]) end
  else
    for minute = first, last do
      local seconds = {}
      for second = minute * 60, minute * 60 + 59 do seconds[#seconds + 1] = number(second) end
      local counts = redis.call('HMGET', key, unpack(seconds))
      for i = 1, #seconds do add(tonumber(seconds[i]), counts[i]) end
    end
  end
  return by_minute
end

local lanes, totals, open = {}, {}, {}
for i = 3, #ARGV do
  lanes[#lanes + 1] = ARGV[i]
  totals[ARGV[i]] = {0, 0, 0, 0, 0, 0}
  open[ARGV[i]] = open_rows(ARGV[i])
end

local unbalanced, busy = {}, {}
for minute = first, last do
  local counts, flat = {}, redis.call('HGETALL', base .. ':tally:' .. number(minute))
  for i = 1, #flat, 2 do counts[flat[i]] = tonumber(flat[i + 1]) end
  if #flat > 0 or redis.call('EXISTS', base .. ':born:' .. number(minute)) == 1 then
    busy[#busy + 1] = minute
  end
  for _, lane in ipairs(lanes) do
    local numbers, ended, total = {}, 0, totals[lane]
    for i, word in ipairs(WORDS) do
      numbers[i] = counts[lane .. '|' .. word] or 0
      if i > 1 then ended = ended + numbers[i] end
    end
    numbers[OPEN] = open[lane][minute] or 0
    for i = 1, OPEN do total[i] = total[i] + numbers[i] end
    if numbers[1] ~= ended + numbers[OPEN] then
      unbalanced[#unbalanced + 1] = {minute, lane, unpack(numbers)}
    end
  end
end

local answer = {}
for _, lane in ipairs(lanes) do answer[#answer + 1] = totals[lane] end
return {answer, unbalanced, busy}
