-- Adds an entry to a user's inbox or to the feed; the same id again changes nothing.
-- ARGV: inbox|log, id, value, limit, retention_s, epoch if there is none yet
-- Returns: 1 if it is new, epoch, sequence before it (-1 if it is not new), its sequence, unread, version, sessions.
local base = KEYS[1]
local log, id, value, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[6]
local limit, retention_s = tonumber(ARGV[4]), tonumber(ARGV[5])
local meta = base .. ':meta'

local before, sequence = -1, redis.call('ZSCORE', base .. ':' .. log, id)
if not sequence then
  local known = redis.call('HMGET', meta, 'epoch', 'seq')
  before = tonumber(known[2] or '0')
  sequence = math.max(before + 1, now_us())
  redis.call('HSET', meta, 'epoch', known[1] or epoch, 'seq', text(sequence))
  redis.call('HINCRBY', meta, 'version', 1)
  redis.call('ZADD', base .. ':' .. log, text(sequence), id)
  redis.call('HSET', base .. ':entries', id, value)
  prune(base, log, limit, retention_s)
  keep(base, retention_s, log, 'entries', 'meta', 'state', 'feed_state')
end

local known = redis.call('HMGET', meta, 'epoch', 'version')
local sessions, count = {}, 0
if log == 'inbox' then
  sessions, count = session_records(base), unread(base)
end
return {
  before == -1 and 0 or 1, known[1] or '', text(before), text(tonumber(sequence)), count, known[2] or '0', sessions,
}
