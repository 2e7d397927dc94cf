-- Let asks in within a sliding window, reserve a time for them, or refuse them.
--
-- KEYS[1]: zset of names by the time in ms from which each counts: when it was let in, or the time reserved for it. A
-- name at t counts in [t, t + window). KEYS[1]:refused: zset of the names that were refused for good, by when.
-- ARGV: count | peek, window ms, then runs of asks that are alike: most, what then (retry, refuse, reserve), within ms
-- (-1: however late), 1 for those that are let in always, how many, and their names.
-- Answer: {place, at, wait, ...} of those that are not let in now: the place (from 0), the reserved time in ms or -1
-- for refused, and in how many ms its time comes, or another ask would be let in.

-- Of refusals the newest so many are remembered: whoever is forgotten may ask again.
local REFUSED_MOST = 1000
-- A search for a free time looks at all times, so there is a bound; beyond it, asks are refused.
local RESERVED_MOST = 1000

local entries, refusals = KEYS[1], KEYS[1] .. ':refused'
local writes, window_ms = ARGV[1] == 'count', tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local begin = now - window_ms

local function text(number)
  return string.format('%.0f', number)
end

local now_text = text(now)

if writes then
  redis.call('ZREMRANGEBYSCORE', entries, '-inf', text(begin))
end
local counted = redis.call('ZCOUNT', entries, '(' .. text(begin), '+inf')
local latest = tonumber(redis.call('ZRANGE', entries, -1, -1, 'WITHSCORES')[2] or 0)
local reserved = latest > now and redis.call('ZCOUNT', entries, '(' .. now_text, '+inf') or 0

-- The times in their order, once they are needed, and the first of them that still matters to the next search.
local times, from
-- What this call has decided, where nothing is written.
local taken, refused = {}, {}
local has_added, has_refused = false, false

local function read_times()
  times = {}
  local flat = redis.call('ZRANGEBYSCORE', entries, '(' .. text(begin), '+inf', 'WITHSCORES')
  for i = 2, #flat, 2 do
    times[#times + 1] = tonumber(flat[i])
  end
end

if not writes then
  read_times()
end

-- The earliest time from `at` on at which one more makes no window hold more than `most`. Any `most` that stand within
-- one window keep others out from the time at which a window would hold the last of them until the first has left. Both
-- ends grow from one such group to the next, so one walk finds the time.
local function free_from(at, most)
  if counted < most then
    return at
  end
  if not times then
    if latest <= now then
      return redis.call('ZRANGE', entries, -most, -most, 'WITHSCORES')[2] + window_ms
    end
    read_times()
  end
  local i = from
  while i + most - 1 <= #times do
    local first, last = times[i], times[i + most - 1]
    if last - window_ms >= at then
      break
    end
    if first + window_ms > at and last - first < window_ms then
      at = first + window_ms
    end
    i = i + 1
    if first + window_ms <= at then
      from = i
    end
  end
  return at
end

local function add(name, at)
  if writes then
    redis.call('ZADD', entries, at == now and now_text or text(at), name)
  else
    taken[name] = at
  end
  has_added, counted = true, counted + 1
  if at > now then
    reserved, latest = reserved + 1, math.max(latest, at)
  end
  if times then
    local place = #times + 1
    while place > 1 and times[place - 1] > at do
      place = place - 1
    end
    table.insert(times, place, at)
  end
end

local function time_of(name)
  local at = taken[name] or tonumber(redis.call('ZSCORE', entries, name))
  return at and at > begin and at
end

local function was_refused(name)
  local at = refused[name] or tonumber(redis.call('ZSCORE', refusals, name))
  return at and at > begin
end

local function refuse(name)
  if writes then
    redis.call('ZADD', refusals, now_text, name)
  else
    refused[name] = now
  end
  has_refused = true
end

local answer, place, i = {}, 0, 3

local function say(at, wait_ms)
  local size = #answer
  answer[size + 1], answer[size + 2], answer[size + 3] = place, at, wait_ms
end

while i <= #ARGV do
  local most, what, within_ms = tonumber(ARGV[i]), ARGV[i + 1], tonumber(ARGV[i + 2])
  local always, names = ARGV[i + 3] == '1', tonumber(ARGV[i + 4])
  -- What is taken stays taken, so the next search begins where the last one ended.
  local free = now
  from = 1
  local is_known = false
  for j = i + 5, i + 4 + names do
    local name = ARGV[j]
    local at = time_of(name)
    if always then
      if not at then
        add(name, now)
      end
    elseif at then
      if at > now then
        say(at, at - now)
      end
    else
      if not is_known then
        free = most < 1 and now + window_ms or free_from(free, most)
        is_known = true
      end
      local stays_out = what ~= 'retry' and was_refused(name)
      if stays_out then
        say(-1, free - now)
      elseif free <= now then
        add(name, now)
        is_known = false
      elseif
        what == 'reserve'
        and most > 0
        and (within_ms < 0 or free - now <= within_ms)
        and reserved < RESERVED_MOST
      then
        add(name, free)
        say(free, free - now)
        is_known = false
      else
        if what ~= 'retry' then
          refuse(name)
        end
        say(-1, free - now)
      end
    end
    place = place + 1
  end
  i = i + 5 + names
end

if writes and has_added then
  redis.call('PEXPIRE', entries, text(math.max(latest - now, 0) + window_ms))
end
if writes and has_refused then
  redis.call('ZREMRANGEBYSCORE', refusals, '-inf', text(begin))
  redis.call('ZREMRANGEBYRANK', refusals, 0, -REFUSED_MOST - 1)
  redis.call('PEXPIRE', refusals, text(window_ms))
end
return answer
