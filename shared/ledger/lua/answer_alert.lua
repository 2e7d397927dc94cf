-- Acknowledge, snooze, reassign or resolve an alert. Its escalation ends now; deliveries that have not left are due now, so
-- that whoever takes them ends them. In a large record those end when their time comes. A resolve keeps who acknowledged.
--
-- An acknowledgement that does not last for ever, and a snooze, leave a task that opens the incident again at its end. A
-- reassignment opens it at once, with a new turn: what belongs to the turn before is not done any more. A note changes
-- nothing but the timeline.
--
-- ARGV: alert id, 'acknowledged', 'snoozed', 'reassigned', 'resolved' or 'noted', user id or '', note, retention s,
--       recipient that must have been told or '', the line of its timeline, until when in ms it is snoozed or 0, the target
--       of a reassignment or '', how long a task of the router may take in ms.
-- Answer: 'unknown' (no such alert), 'not_told' (that person was not told of it), 'over' (it is resolved or cancelled, and
--         was to be snoozed or reassigned), 'full' (the timeline takes no note any more), 'again' (it was so already) or
--         'done'.

local id, verb, user, note, retention_s, told = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local entry, until_ms, target, task_ms = ARGV[7], tonumber(ARGV[8]), ARGV[9], tonumber(ARGV[10])
local record = record_key(id)

-- A member of an incident is answered with it. Only if others of it are open, its end is not that of all.
local of_group = read_fields(record, 'group', 'member')
if of_group and of_group[1] then
  id, record = of_group[1], record_key(of_group[1])
  if verb == 'resolved' and told == '' and close_member(id, of_group[2], entry) > 0 then
    return 'done'
  end
end

local found = read_fields(
  record, 'alert', 'alert_by', 'alert_note', 'alert_at', 'acknowledged_at', 'acknowledged_by', 'turn', 'ack_for', 'cancelled')
local current = found and found[1]
if not current then
  return 'unknown'
end
local rows = rows_of(record)

local function was_told(recipient)
  -- The deliveries by which this person was about to be told have ended with the acknowledgement.
  if found[6] == recipient then
    return true
  end
  if not rows then
    return redis.call('HEXISTS', record, 's:realtime:' .. recipient) == 1
  end
  for key, row in pairs(rows) do
    if row.lane ~= 'router' and row.state ~= 'x' then
      local spec = redis.call('HGET', record, 'd:' .. key)
      local is_json, read = pcall(cjson.decode, spec or '')
      if is_json and type(read) == 'table' and read.recipient == recipient then
        return true
      end
    end
  end
  return false
end

if told ~= '' and not was_told(told) then
  return 'not_told'
end
if verb == 'noted' then
  if not found[7] then return 'unknown' end
  -- A call that is made again adds no second line.
  local last = redis.call('LINDEX', base .. ':timeline:' .. id, -1)
  if last and string.match(last, '^%d+|(.*)$') == entry then return 'again' end
  return write_timeline(id, entry) and 'done' or 'full'
end
local is_over = current == 'resolved' or found[9]
if verb == 'snoozed' or verb == 'reassigned' then
  if is_over then return 'over' end
elseif current == verb or current == 'resolved' or (is_over and verb == 'acknowledged') then
  return 'again'
end
-- An earlier release wrote who acknowledged under other names.
if current == 'acknowledged' and not found[5] and found[4] then
  redis.call('HSET', record, 'acknowledged_by', found[2], 'acknowledged_note', found[3], 'acknowledged_at', found[4])
end
if found[7] then write_timeline(id, entry) end

if not rows then
  rows = {}
  for _, field in ipairs(redis.call('HKEYS', record)) do
    local key = string.match(field, '^s:(escalate:.*)$') or string.match(field, '^s:(again:.*)$')
    if key then
      rows[key] = read_row(redis.call('HGET', record, field))
    end
  end
end

-- An incident has no turn if an earlier release accepted it.
local turn = count_of(found[7])

-- Leave a task that opens the incident again: now, for somebody else, or when an answer does not hold any more.
local function open_again(at, of_turn)
  local key = 'again:' .. number(of_turn) .. ':' .. number(at)
  local expires = at + task_ms
  local to = target ~= '' and ',"to":' .. json_text(target) or ''
  add_task(id, record, key, at, expires, string.format(
    '{"v":4,"key":"%s","priority":"critical","due_ms":%s,"expires_ms":%s,"what":{"do":"again","turn":%s%s}}',
    key, number(at), number(expires), number(of_turn), to))
end

for key, row in pairs(rows) do
  if row.state == 'p' then
    if row.lane ~= 'router' and not recalls(key) then
      if verb == 'reassigned' then
        end_row(id, record, key, row, 'x', verb, retention_s)
      else
        row.due = now
        write_row(record, key, row)
        redis.call('ZADD', base .. ':due:' .. row.lane, now, id .. '|' .. key)
      end
    elseif string.match(key, '^escalate:') or string.match(key, '^again:') then
      end_row(id, record, key, row, 'x', verb == 'snoozed' and 'acknowledged' or verb, retention_s)
    end
  end
end

if verb == 'reassigned' then
  turn = turn + 1
  redis.call('HSET', record, 'alert', 'open', 'turn', number(turn))
  redis.call('HDEL', record, 'acknowledged_by', 'acknowledged_note', 'acknowledged_at', 'snoozed_until')
  open_again(now, turn)
else
  local state = verb == 'snoozed' and 'acknowledged' or verb
  redis.call('HSET', record, 'alert', state, state .. '_by', user, state .. '_note', note, state .. '_at', number(now))
  redis.call('HDEL', record, 'snoozed_until')
  if verb == 'snoozed' then
    redis.call('HSET', record, 'snoozed_until', number(until_ms))
    open_again(until_ms, turn)
  elseif verb == 'acknowledged' and count_of(found[8]) > 0 then
    open_again(now + count_of(found[8]), turn)
  end
end
if verb == 'resolved' then close_incident(id, retention_s) end
-- Those who were told are told who has it.
if found[7] and verb ~= 'reassigned' then
  local key = 'answered:' .. number(now)
  add_task(id, record, key, now, now + task_ms, string.format(
    '{"v":4,"key":"%s","priority":"high","due_ms":%s,"expires_ms":%s,"what":{"do":"tell_answer","state":"%s","by":%s}}',
    key, number(now), number(now + task_ms), verb, json_text(user)))
end

if verb == 'resolved' and redis.call('TTL', record) >= 0 then
  -- What is over is kept as long as anything else from its end on.
  redis.call('EXPIRE', record, retention_s)
  redis.call('EXPIRE', base .. ':timeline:' .. id, retention_s)
end
return 'done'
