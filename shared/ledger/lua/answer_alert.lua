-- Acknowledge or resolve an alert. Its escalation ends now; deliveries that have not left are due now, so that whoever
-- takes them ends them. In a large record those end when their time comes. A resolve keeps who acknowledged.
--
-- ARGV: alert id, 'acknowledged' or 'resolved', user id or '', note, retention s, recipient that must have been told or ''.
-- Answer: 'unknown' (no such alert), 'not_told' (that person was not told of it), 'again' (it was so already) or 'done'.

local id, state, user, note, retention_s, told = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local record = record_key(id)
local found = read_fields(record, 'alert', 'alert_by', 'alert_note', 'alert_at', 'acknowledged_at', 'acknowledged_by')
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
if current == state or current == 'resolved' then
  return 'again'
end
-- An earlier release wrote who acknowledged under other names.
if current == 'acknowledged' and not found[5] and found[4] then
  redis.call('HSET', record, 'acknowledged_by', found[2], 'acknowledged_note', found[3], 'acknowledged_at', found[4])
end
redis.call('HSET', record, 'alert', state, state .. '_by', user, state .. '_note', note, state .. '_at', number(now))
if not rows then
  rows = {}
  for _, field in ipairs(redis.call('HKEYS', record)) do
    local key = string.match(field, '^s:(escalate:.*)$')
    if key then
      rows[key] = read_row(redis.call('HGET', record, field))
    end
  end
end
for key, row in pairs(rows) do
  if row.state == 'p' then
    if row.lane ~= 'router' and not recalls(key) then
      row.due = now
      write_row(record, key, row)
      redis.call('ZADD', base .. ':due:' .. row.lane, now, id .. '|' .. key)
    elseif string.match(key, '^escalate:') then
      end_row(id, record, key, row, 'x', state, retention_s)
    end
  end
end
return 'done'
