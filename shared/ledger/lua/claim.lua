-- Take rows for one attempt each. `sending` is written here, before the provider is called, so that an attempt whose
-- worker dies is known to be in doubt.
--
-- A lease that lapsed says that its worker died, or was as slow as a dead one. Once may be an accident. Twice in a row may
-- be this row's doing: then it waits for a time of its own, so that those which were in the same hands meet it no more.
-- MOST_LAPSES in a row is its doing, and it becomes a dead letter: it must not take one worker after the other along.
--
-- ARGV: lease ms, retention s, history entries kept, how many lanes, the lanes, then pairs of notification id and row
-- key.
-- Answer, per pair: {verdict, token, attempt number, in doubt 0|1, alert state or '', internal errors so far, refusals
-- so far, ms since the first of them, 1 if its incident is mute} with the verdict
--   claimed | held (somebody has it) | early (its time has not come) | ended | expired | cancelled (ended just now) |
--   acknowledged or resolved (its alert was, and it ended just now) | worker_died (too often; it ended just now) |
--   unreadable (it was put away just now) | unknown (no such row).

local MOST_LAPSES = 5
-- How far apart rows are spread that lapsed twice; each further time twice as far.
local SPREAD_MS = {low = 60000, normal = 60000, high = 30000, critical = 2000}

local lanes = tonumber(ARGV[4])

local function lane_of(id, key)
  for i = 5, 4 + lanes do
    local lane = ARGV[i]
    if redis.call('ZSCORE', base .. ':due:' .. lane, id .. '|' .. key) then
      return lane
    end
  end
end

-- A time of its own for each row and lapse, the same in every replica.
local function spread(id, key, row, lapses)
  local part = tonumber(string.sub(redis.sha1hex(id .. key .. lapses), 1, 8), 16) / 0xffffffff
  return math.floor(part * SPREAD_MS[row.priority] * 2 ^ (lapses - 2))
end

local lease_ms, retention_s, kept = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local answer = {}
for i = 5 + lanes, #ARGV, 2 do
  local id, key = ARGV[i], ARGV[i + 1]
  local record = record_key(id)
  local found = read_fields(
    record, 's:' .. key, 'cancelled', 'alert', 'e:' .. key, 'w:' .. key, 'r:' .. key, 'muted')
  local verdict, token, attempt, doubt = 'unknown', 0, 0, 0
  local row = found and read_row(found[1])
  if not row and (not found or found[1]) then
    local lane = lane_of(id, key)
    if lane then
      quarantine(lane, id, key, retention_s)
      verdict = 'unreadable'
    end
  elseif row then
    local has_lapsed = row.state == 's' and row.due <= now
    local lapses = (tonumber(found[5]) or 0) + (has_lapsed and 1 or 0)
    if has_lapsed then
      redis.call('HSET', record, 'w:' .. key, lapses)
      note_lapse(record, key, row, kept)
    end
    if row.state ~= 'p' and row.state ~= 's' then
      verdict = 'ended'
    elseif row.state == 's' and row.due > now then
      verdict = 'held'
    elseif row.state == 'p' and row.due > now then
      verdict = 'early'
    elseif called_off(key, row, found[2], found[3]) then
      verdict = called_off(key, row, found[2], found[3])
      end_row(id, record, key, row, 'x', verdict, retention_s)
    elseif row.expires <= now then
      verdict = 'expired'
      end_row(id, record, key, row, 'e', 'expired', retention_s)
    elseif has_lapsed and lapses >= MOST_LAPSES then
      verdict = 'worker_died'
      end_row(id, record, key, row, 'l', verdict, retention_s)
    elseif has_lapsed and lapses >= 2 then
      verdict = 'early'
      row.state, row.reason, row.redrives = 'p', 'in_doubt', 0
      row.due = math.min(now + spread(id, key, row, lapses), math.max(now, row.expires))
      write_row(record, key, row)
      leave(row, id .. '|' .. key)
      redis.call('ZADD', base .. ':due:' .. row.lane, row.due, id .. '|' .. key)
    else
      verdict = 'claimed'
      if has_lapsed or row.reason == 'in_doubt' then
        doubt = 1
      end
      row.state, row.token, row.attempts, row.redrives = 's', row.token + 1, row.attempts + 1, 0
      row.due = now + lease_ms
      token, attempt = row.token, row.attempts
      write_row(record, key, row)
      leave(row, id .. '|' .. key)
      redis.call('ZADD', base .. ':due:' .. row.lane, row.due, id .. '|' .. key)
    end
  end
  local refusals, since = 0, 0
  local times, first = string.match(found and found[6] or '', '^(%d+)|(%d+)$')
  if times then
    refusals, since = tonumber(times), math.max(0, now - tonumber(first))
  end
  answer[#answer + 1] = {
    verdict, token, attempt, doubt, found and found[3] or '', number(found and tonumber(found[4]) or 0), refusals, since,
    found and found[7] and 1 or 0,
  }
end
return answer
