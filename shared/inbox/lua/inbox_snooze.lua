-- Puts an entry away for a while.
-- ARGV: id, until_ms, limit, retention_s, epoch if there is none yet, then for an entry of the feed: its value, sequence and
--       order, feed epoch, feed floor
-- Returns: nothing if there is no such entry, 0 if too many are snoozed already, else 1, position, feed states, sessions.
local base = KEYS[1]
local id, until_ms, limit, retention_s = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

local has_snoozed = settle(base, 'inbox')
local is_own = redis.call('ZSCORE', base .. ':inbox', id)
if not is_own and not ARGV[6] then
  return {}
end
local snoozed = base .. ':snoozed'
if has_snoozed and redis.call('ZCARD', snoozed) >= SNOOZED_MOST and not redis.call('ZSCORE', snoozed, id) then
  return { 0 }
end
if not is_own then
  adopt(base, feed_entry(id, 6), ARGV[5])
end
redis.call('HSET', base .. ':state', id, 's')
redis.call('ZADD', snoozed, text(until_ms), id)
redis.call('SREM', base .. ':pinned', id)
note_snooze(base, id, until_ms)
next_wake(base, retention_s)
trim(base, 'inbox', limit, tonumber(retention_s), true)
keep(base, retention_s, 'inbox', 'pinned', 'order', 'entries', 'snoozed', 'tenants')
changed(base, retention_s, not is_own)
return told(base, true)
