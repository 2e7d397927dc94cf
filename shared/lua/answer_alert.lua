-- Acknowledge or resolve an alert, which ends its escalation.
--
-- ARGV: alert id, 'acknowledged' or 'resolved', user id or '', note, retention s, recipient that must have been told or ''.
-- Answer: 'unknown' (no such alert, or that person was not told of it), 'again' (it was so already) or 'done'.

local id, state, user, note, retention_s, told = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local record = record_key(id)
local current = redis.call('HGET', record, 'alert')
if not current then
  return 'unknown'
end
if told ~= '' and redis.call('HEXISTS', record, 's:realtime:' .. told) == 0 then
  return 'unknown'
end
if current == state or current == 'resolved' then
  return 'again'
end
redis.call('HSET', record, 'alert', state, 'alert_by', user, 'alert_note', note, 'alert_at', number(now))
for _, field in ipairs(redis.call('HKEYS', record)) do
  local key = string.match(field, '^s:(escalate:.*)$')
  if key then
    local row = read_row(redis.call('HGET', record, field))
    if row.state == 'p' then
      end_row(id, record, key, row, 'x', state, retention_s)
    end
  end
end
return 'done'
