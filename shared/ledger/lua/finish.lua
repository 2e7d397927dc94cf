-- Write the outcome of an attempt, if the writer still holds the row, and add the rows that follow from it.
--
-- ARGV: id, key, token, state (p to try again), reason, wait ms before the next attempt, in doubt 0|1,
--       attempt counts 0|1, history (text after the time, or ''), history entries kept, retention s,
--       guard ('' or the alert state that the new rows need, with "|turn" behind it), refusals so far whose fault nobody knows ('' as it was),
--       rows handed over at most per lane and priority, lines for the timeline of an incident or '', what becomes of its
--       state with the new rows or '', under whose names the new rows are found (note_told), what rows refer to, how many
--       arguments rows are, rows.
--       Then, for rows that stand in a record of their own (a part of a fan-out): its id, the content, until when in ms
--       one of them may be open, whether other parts may have the same people 0|1, their names, rows.
-- Answer: 'finished', 'stale' (another worker has taken the row meanwhile; nothing was written), 'void' (the
--         notification was cancelled or its alert answered meanwhile: the row ended, its new rows were not added), or the
--         reason why a row that was to be tried again has ended: 'cancelled', 'acknowledged', 'resolved'. Where new rows
--         are due and wait, {'finished', their numbers, counted from 0 over all new rows ...}.

local id, key, token, state, reason = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local wait_ms, in_doubt, counts = tonumber(ARGV[6]), ARGV[7] == '1', ARGV[8] == '1'
local history, kept, retention_s, guard = ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11]), ARGV[12]
local refusals, entries, becomes = tonumber(ARGV[13]), ARGV[15], ARGV[16]
local record = record_key(id)

local found = read_fields(record, 's:' .. key, 'cancelled', 'alert', 'w:' .. key, 'publisher', 'share', 'turn')
local row = found and read_row(found[1])
if not row then
  return 'stale'
end
if row.token ~= token or row.state ~= 's' then
  return 'stale'
end

-- Whoever brings an outcome has not died.
if found[4] then
  redis.call('HDEL', record, 'w:' .. key)
end
if history ~= '' then
  redis.call('HSET', record, 'a:' .. key .. ':' .. number(row.attempts % kept), number(now) .. '|' .. history)
end
if reason == 'internal_error' then
  count_field(record, 'e:' .. key, 1)
end
if refusals == 0 then
  redis.call('HDEL', record, 'r:' .. key)
elseif refusals then
  local first = refusals > 1 and string.match(redis.call('HGET', record, 'r:' .. key) or '', '|(%d+)$')
  redis.call('HSET', record, 'r:' .. key, number(refusals) .. '|' .. (first or number(now)))
end

-- A recall waits for the end of this attempt: it is due now, or there is nothing to take back.
local function settle_recall(has_arrived)
  local recall_key = key .. RECALL
  local recall = found[2] and read_row(redis.call('HGET', record, 's:' .. recall_key))
  if not recall or recall.state ~= 'p' or recall.due <= now then
    return
  end
  if has_arrived then
    recall.due = now
    write_row(record, recall_key, recall)
    redis.call('ZADD', base .. ':due:' .. recall.lane, now, id .. '|' .. recall_key)
  else
    end_row(id, record, recall_key, recall, 'x', 'cancelled', retention_s)
  end
end

local reason_against = state == 'p' and called_off(key, row, found[2], found[3])
if reason_against then
  settle_recall(in_doubt)
  end_row(id, record, key, row, 'x', reason_against, retention_s)
  return reason_against
end
if state == 'p' then
  if row.due <= now then
    -- Its lease has lapsed, and it was handed over to others.
    leave(row, id .. '|' .. key)
  end
  -- Not beyond the expiry, so that a row which can no longer be delivered ends in time.
  row.state, row.due, row.redrives = 'p', math.min(now + wait_ms, math.max(now, row.expires)), 0
  local reason_before = row.reason
  row.reason = in_doubt and 'in_doubt' or reason
  if not counts then
    row.attempts = row.attempts - 1
  end
  local muted = string.match(becomes, '^muted:(.*)$')
  if muted then redis.call('HSET', record, 'muted', muted, 'waits', number(row.due)) end
  if entries ~= '' then write_entries(id, entries) end
  write_row(record, key, row)
  local tells = found[7] and row.lane ~= 'realtime' and not recalls(key)
  if tells and refusals and refusals > 0 then
    -- Whose fault a refusal is takes a while to know. Whoever waits for an answer need not wait for that.
    if refusals == 1 then
      write_timeline(id, '{"what":"refused","key":' .. json_text(key) .. ',"reason":' .. json_text(reason) .. '}')
    end
    escalate_on_evidence(id, record, key)
  elseif tells and row.reason == 'paused' then
    -- Nor for the end of a pause.
    if reason_before ~= 'paused' then
      write_timeline(id, '{"what":"paused","key":' .. json_text(key) .. ',"reason":"by hand"}')
    end
    escalate_on_evidence(id, record, key)
  end
  redis.call('ZADD', base .. ':due:' .. row.lane, row.due, id .. '|' .. key)
  return 'finished'
end

local needs, rows = read_needs(18)
local part_at = rows + 1 + tonumber(ARGV[rows])
local new_rows = #ARGV > rows
if new_rows and found[2] then
  end_row(id, record, key, row, 'x', 'cancelled', retention_s)
  return 'void'
end
-- Between its claim and now somebody may have answered, and opened it again.
local needed, turn = string.match(guard, '^(%l*)|?(%d*)$')
if new_rows and guard ~= '' and (found[3] ~= needed or (turn ~= '' and (found[7] or '0') ~= turn)) then
  local answered = found[3] == needed and 'acknowledged' or found[3]
  end_row(id, record, key, row, 'x', answered or 'cancelled', retention_s)
  return 'void'
end
local publisher, waiting = {window = tonumber(ARGV[14])}, {}
publisher.name, publisher.share = publisher_of(found[5], found[6])

-- Add before ending, so that the record never looks finished in between.
local function is_new(new_key) return redis.call('HEXISTS', record, 's:' .. new_key) == 0 end

-- Name the channel of a person that a row is for: it may be delivered, held (held:CHANNEL:USER:TIME) or folded, and a push
-- has a row for each device. So nobody who is on two pages is told now, and once more when the hold of the other page ends.
local function channel_of(new_key)
  return string.match(new_key, '^held:(.*):%d+$') or string.match(new_key, '^fold:(.*)$')
    or string.match(new_key, '^(push:.*):%x+$') or new_key
end

-- The parts of a notification are known by base:parts:ID, and what several of them may have twice by base:planned:ID.
local function add_part(part_id, part_content, until_ms, shared, names)
  local part, parts, planned = record_key(part_id), base .. ':parts:' .. id, base .. ':planned:' .. id
  local last_ms = math.max(until_ms, count_of(redis.call('HGET', record, 'until')))
  local kept_s = retention_s + math.ceil(math.max(0, last_ms - now) / 1000)
  local of_this_part = {}
  local function is_first(new_key)
    if not is_new(new_key) or redis.call('SADD', planned, new_key) == 0 then return false end
    local channel = channel_of(new_key)
    if channel == new_key or of_this_part[channel] then return true end
    of_this_part[channel] = redis.call('SADD', planned, channel) == 1
    return of_this_part[channel]
  end
  local fields = {'c', part_content, 'at', number(now)}
  if publisher.name ~= '-' then
    fields[#fields + 1] = 'publisher'
    fields[#fields + 1] = publisher.name
  end
  if found[6] then
    fields[#fields + 1] = 'share'
    fields[#fields + 1] = found[6]
  end
  local before = (part_at - rows - 1) / ROW_ARGS
  local opened, rows_end =
    add_rows(part_id, part, part_at + 5, #ARGV, shared and is_first or every, fields, publisher, waiting, before)
  redis.call('HSET', part, 'open', opened)
  if opened == 0 then
    redis.call('EXPIRE', part, retention_s)
  end
  redis.call('HSET', record, 'until', number(last_ms))
  redis.call('RPUSH', parts, part_id)
  redis.call('EXPIRE', parts, kept_s)
  redis.call('EXPIRE', planned, kept_s)
  note_told(names, rows_end, retention_s)
end

if part_at > rows + 1 then
  local opened, rows_end = add_rows(id, record, rows + 1, part_at - 1, is_new, needs, publisher, waiting, 0)
  count_record(record, opened)
  note_told(ARGV[17], rows_end, retention_s)
end
if #ARGV >= part_at then
  add_part(ARGV[part_at], ARGV[part_at + 1], tonumber(ARGV[part_at + 2]), ARGV[part_at + 3] == '1', ARGV[part_at + 4])
end
if guard ~= '' and new_rows then redis.call('HDEL', record, 'muted', 'waits') end
if becomes == 'open' then
  redis.call('HSET', record, 'alert', 'open', 'turn', count_of(found[7]) + 1)
  redis.call('HDEL', record, 'acknowledged_by', 'acknowledged_note', 'acknowledged_at', 'snoozed_until')
end
if entries ~= '' then write_entries(id, entries) end
settle_recall(state == 'd' or in_doubt)
end_row(id, record, key, row, state, reason, retention_s)
if #waiting > 0 then
  table.insert(waiting, 1, 'finished')
  return waiting
end
return 'finished'
