-- Changes the state of one own entry. ARGV: id, read|unread|archive, retention_s
-- Returns: nothing if there is no such entry, else 1 if something changed, position, feed states, sessions; and its id if
--          it was unread and is read now.
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
  answer[#answer + 1] = {id}
end
return answer
