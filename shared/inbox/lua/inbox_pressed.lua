-- Says how the publishing of a press ended.
-- ARGV: id, action, 1 if it was published, the action's id as JSON, that of the action that the entry names as acted or '',
--       limit, retention_s, epoch if there is none yet, then for an entry of the feed as for inbox_snooze
-- Returns: nothing if there is no such entry, else 1 if something changed, position, feed states, sessions.
local base = KEYS[1]
local id, action, published, limit, retention_s = ARGV[1], ARGV[2], ARGV[3] == '1', tonumber(ARGV[6]), ARGV[7]

local pressed = pressed_actions(base, id)
pressed[action] = published and 0 or nil
if next(pressed) then
  redis.call('HSET', base .. ':acted', id, cjson.encode(pressed))
  redis.call('EXPIRE', base .. ':acted', retention_s)
else
  redis.call('HDEL', base .. ':acted', id)
end
local has_snoozed = settle(base, 'inbox')
local is_own = redis.call('ZSCORE', base .. ':inbox', id)
if not is_own and (not published or not ARGV[9]) then
  return {}
end
if not published then
  return told(base, false)
end
if not is_own then
  adopt(base, feed_entry(id, 9), ARGV[8])
  trim(base, 'inbox', limit, tonumber(retention_s), has_snoozed)
end
-- Behind the notification's own fields, and before those of note_snooze.
local value = redis.call('HGET', base .. ':entries', id)
if value then
  local snooze = string.match(value, ',"snoozed_until":[%d.]+}$') or '}'
  value = string.sub(value, 1, -1 - #snooze)
  local former = ',"acted":' .. ARGV[5]
  if ARGV[5] ~= '' and string.sub(value, -#former) == former then
    value = string.sub(value, 1, -1 - #former)
  end
  redis.call('HSET', base .. ':entries', id, value .. ',"acted":' .. ARGV[4] .. snooze)
end
keep(base, retention_s, 'inbox', 'order', 'entries', 'tenants')
changed(base, retention_s, not is_own)
return told(base, true)
