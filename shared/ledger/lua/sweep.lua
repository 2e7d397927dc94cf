-- Hand over what is due or whose lease has lapsed, or will be shortly, so that it is published when its time has come, and
-- then what waits, the most urgent first, as far as the windows have room (line_of in ledger.lua). What is due and finds
-- no room waits from then on.
--
-- What was handed over and not claimed in its grace is handed over again, and keeps its place in the window. The grace
-- doubles with every time, so that what a worker has and cannot claim yet does not come to it again and again. After some
-- times it gives up its place: it may be in a version that no worker here reads, and must not stop the others. A lane
-- whose jobs nobody takes has no backlog at the broker, and is only probed; then the grace stays as it is, so that nothing
-- has to wait long once somebody is there.
--
-- What nobody wants any more, what has passed its deadline and what cannot be read ends here, whether or not somebody
-- works on that lane.
--
-- ARGV: lane, most rows, ms to look ahead, probe 0|1, retention s, grace ms per priority (low, normal, high, critical),
--       most bytes of texts: what is beyond them stays as it is, rows handed over at most per priority (as before),
--       history entries kept.
-- Answer: {due, ended, waiting}. due is a list of {id, key, priority, content, spec, ms until it is due, 1 when it was
--         handed over before, else 0}, where content is '' if it is that of the row before; ended a list of {id, key, state, reason, content or '', spec or ''}; waiting the
--         priorities of which something still waits.

local lane, most, ahead, probe = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local retention_s = tonumber(ARGV[5])
local grace = {low = tonumber(ARGV[6]), normal = tonumber(ARGV[7]), high = tonumber(ARGV[8]), critical = tonumber(ARGV[9])}
local most_bytes, bytes = tonumber(ARGV[10]), 0
local window = {low = tonumber(ARGV[11]), normal = tonumber(ARGV[12]), high = tonumber(ARGV[13]), critical = tonumber(ARGV[14])}
local kept = tonumber(ARGV[15])
local URGENCY = {'critical', 'high', 'normal', 'low'}
local LONGEST_DOUBLING = 6
local KEEPS_ITS_PLACE = 4
-- What is looked at of a lane that is only probed.
local LOOKED_AT, LOOKED_AT_EVERY_MS = 100, 200
local schedule = base .. ':due:' .. lane
local due_rows, ended = {}, {}

-- Why an open row ends now: its state and reason, or nothing.
local function end_of(key, row, found)
  local reason = called_off(key, row, found[4], found[5])
  local in_hand = row.state == 's' and row.due > now
  if in_hand then
    return nil
  elseif reason then
    return 'x', reason
  elseif row.expires <= now then
    return 'e', 'expired'
  end
end

-- Look at an entry and end what is to be ended; return the row and its parts where it goes on.
local function look_at(member)
  local id, key = string.match(member, '^(.-)|(.*)$')
  if not id then
    redis.call('ZREM', schedule, member)
    redis.call('ZADD', base .. ':dead', now, lane .. '||' .. member)
    ended[#ended + 1] = {'', member, 'l', 'unreadable', '', ''}
    return nil
  end
  local record = record_key(id)
  local found = read_fields(record, 's:' .. key, 'c', 'd:' .. key, 'cancelled', 'alert', 'publisher', 'share')
  local row = found and read_row(found[1])
  if row and (not is_open(row) or row.lane ~= lane and redis.call('ZSCORE', base .. ':due:' .. row.lane, member)) then
    -- Another lane's, or nobody's.
    redis.call('ZREM', schedule, member)
    return nil
  end
  if not row or row.lane ~= lane or not found[2] or not found[3] then
    quarantine(lane, id, key, retention_s)
    ended[#ended + 1] = {id, key, 'l', 'unreadable', found and found[2] or '', found and found[3] or ''}
    return nil
  end
  local state, reason = end_of(key, row, found)
  if state then
    -- What was in the hands of a dead worker may have arrived.
    if row.state == 's' then note_lapse(record, key, row, kept) end
    end_row(id, record, key, row, state, reason, retention_s)
    ended[#ended + 1] = {id, key, state, reason, found[2], found[3]}
    bytes = bytes + #found[2] + #found[3]
    return nil
  end
  return row, id, key, found
end

local function line_for(row) return line_of(lane, row.priority, window[row.priority]) end

-- Hand a row over that is or will be due then: publish it at that time, and look for it again after so long.
local last_id

local function hand_over(line, member, row, id, key, found, due, grace_ms, again)
  -- Not long beyond the deadline, so that it ends in time where nobody works.
  local next_look = math.min(due + grace_ms, math.max(row.expires, due + grace[row.priority]))
  if row.redrives >= KEEPS_ITS_PLACE then
    redis.call('ZREM', line.out, member)
  else
    redis.call('ZADD', line.out, number(next_look), member)
  end
  redis.call('ZADD', schedule, number(next_look), member)
  local content = id == last_id and '' or found[2]
  last_id = id
  bytes = bytes + #content + #found[3]
  due_rows[#due_rows + 1] = {id, key, row.priority, content, found[3], due - now, again}
end

local function has_room(line)
  if line.room <= 0 then check_window(lane, line) end
  return line.room > 0
end

-- What waits is looked at, too, and must not keep a probe from being found.
local looked_at = math.max(most, LOOKED_AT)
local found_due = redis.call('ZRANGEBYSCORE', schedule, '-inf', now + ahead, 'WITHSCORES', 'LIMIT', 0, looked_at)
for i = 1, #found_due, 2 do
  if bytes >= most_bytes or #due_rows >= most then break end
  local member, due = found_due[i], math.max(now, tonumber(found_due[i + 1]))
  local row, id, key, found = look_at(member)
  -- Whoever has a row may still finish it before its lease ends.
  if row and not (row.state == 's' and row.due > now) then
    local line = line_for(row)
    if row.redrives >= KEEPS_ITS_PLACE or redis.call('ZSCORE', line.out, member) then
      hand_over(line, member, row, id, key, found, due,
        grace[row.priority] * 2 ^ math.min(row.redrives, LONGEST_DOUBLING), 1)
      if not probe then
        row.redrives = row.redrives + 1
        write_row(record_key(id), key, row)
      end
    elseif row.due <= now and redis.call('ZSCORE', line.ready, member) then
      redis.call('ZADD', schedule, look_again(row.expires), member)
    elseif not line.waits and has_room(line) then
      line.room = line.room - 1
      hand_over(line, member, row, id, key, found, due, grace[row.priority], 0)
    elseif due <= now then
      if row.state == 's' then
        -- A dead worker had it, so it has had its turn.
        wait_first(line, member)
      else
        wait_in(line, member, publisher_of(found[6], found[7]))
      end
      redis.call('ZADD', schedule, look_again(row.expires), member)
    end
  end
end

-- Take out what waits, in its turn. What does not wait any more is dropped: the previous release claims and ends rows
-- without taking them out.
local waiting = {}
for _, priority in ipairs(URGENCY) do
  local line = line_of(lane, priority, window[priority])
  if line.waits and #due_rows < most and bytes < most_bytes and has_room(line) then
    local next_rows = redis.call('ZRANGE', line.ready, 0, math.min(line.room, most - #due_rows) - 1, 'WITHSCORES')
    local taken
    for i = 1, #next_rows, 2 do
      if bytes >= most_bytes then break end
      local member = next_rows[i]
      taken = next_rows[i + 1]
      redis.call('ZREM', line.ready, member)
      local row, id, key, found
      if redis.call('ZSCORE', schedule, member) then row, id, key, found = look_at(member) end
      if row and row.due <= now then
        line.room = line.room - 1
        hand_over(line, member, row, id, key, found, now, grace[priority], 0)
      elseif row then
        redis.call('ZADD', schedule, number(row.due), member)
      end
    end
    if taken then redis.call('HSET', line.fair, '', taken) end
  end
  if redis.call('EXISTS', line.ready) == 1 then
    waiting[#waiting + 1] = priority
  elseif line.waits then
    redis.call('DEL', line.fair)
  end
end

-- Where few are taken, the others wait behind them, past their deadlines as well. A page of them is looked at, each time
-- another one.
if probe then
  local pages = math.ceil(redis.call('ZCOUNT', schedule, '-inf', now) / LOOKED_AT)
  if pages > 0 then
    local first = math.floor(now / LOOKED_AT_EVERY_MS) % pages * LOOKED_AT
    for _, member in ipairs(redis.call('ZRANGE', schedule, first, first + LOOKED_AT - 1)) do
      if bytes >= most_bytes then break end
      look_at(member)
    end
  end
end
return {due_rows, ended, waiting}
