-- Changes the state of one own entry. ARGV: id, read|unread|archive, retention_s
-- Returns: nothing if there is no such entry, else 1 if something changed, position, feed states, sessions; and 1 if it was
--          unread, is read now, and looks like an alert's.
local base = KEYS[1]
local id, change, retention_s = ARGV[1], ARGV[2], ARGV[3]
local states = base .. ':state'

if not redis.call('ZSCORE', base .. ':inbox', id) then
  return {}
end
local before = redis.call('HGET', states, id)
local after = before
if change == 'archive' then
  after = 'a'
elseif change == 'read' then
  after = before or 'r'
else
  after = false
end
if after == before then
  return told(base, false)
end
if before == 's' then
  redis.call('ZREM', base .. ':snoozed', id)
  note_snooze(base, id, nil)
end
if after then
  redis.call('HSET', states, id, after)
else
  redis.call('HDEL', states, id)
end
changed(base, retention_s, false)
local answer = told(base, true)
if change == 'read' then
  -- As ``wire_body`` writes it. What a publisher's data hold may look like it.
  local is_alert = string.find(redis.call('HGET', base .. ':entries', id) or '', ',"alert":{"id":', 1, true)
  answer[#answer + 1] = is_alert and 1 or 0
end
return answer
