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

local lanes, totals, open, field_of = {}, {}, {}, {}
for i = 3, #ARGV do
  local lane = ARGV[i]
  lanes[#lanes + 1] = lane
  totals[#lanes] = {0, 0, 0, 0, 0, 0}
  open[#lanes] = open_rows(lane)
  for j, word in ipairs(WORDS) do field_of[lane .. '|' .. word] = {#lanes, j} end
end

local unbalanced, busy = {}, {}
for minute = first, last do
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
      -- Twice what was created, less everything: what was created and stands nowhere.
      local total, left = totals[lane], 2 * of_lane[1]
      for i = 1, OPEN do
        total[i] = total[i] + of_lane[i]
        left = left - of_lane[i]
      end
      if left ~= 0 then
        unbalanced[#unbalanced + 1] = {minute, lanes[lane], unpack(of_lane)}
      end
    end
  end
end
return {totals, unbalanced, busy}
