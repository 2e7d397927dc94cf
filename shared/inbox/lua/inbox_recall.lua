-- Takes an entry out of a user's inbox or of the feed, and keeps it from coming (again).
-- ARGV: inbox|log, id, retention_s
-- Returns: as changes of marks do, see told in inbox_log.lua.
local base = KEYS[1]
local log, id, retention_s = ARGV[1], ARGV[2], ARGV[3]

settle(base, log)
local recalled = base .. ':recalled'
redis.call('ZADD', recalled, 'NX', text(now_us()), id)
redis.call('ZREMRANGEBYRANK', recalled, 0, -RECALLED_MOST - 1)
keep(base, retention_s, 'recalled')
if redis.call('ZREM', base .. ':' .. log, id) == 0 then
  return told(base, false)
end
-- Not through forget: who stands before it has missed nothing.
redis.call('ZREM', base .. ':order', id)
redis.call('HDEL', base .. ':entries', id)
redis.call('HDEL', base .. ':state', id)
redis.call('SREM', base .. ':pinned', id)
if redis.call('ZREM', base .. ':snoozed', id) == 1 then
  next_wake(base, retention_s)
end
changed(base, retention_s, false)
return told(base, true)
