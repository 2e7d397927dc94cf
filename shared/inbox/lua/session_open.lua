-- Opens a session and reads the inbox in the same moment, so that nothing falls between the two.
-- ARGV: session id, record, ttl_ms, most sessions, then as for inbox_read: want, most, tenant, limit,
--       retention_s
-- Returns: 1, the snapshot and a digest of the user's directory record, or 0 when the user has too many sessions.
local base = KEYS[1]
local id, record, ttl_ms, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local sessions, nodes = base .. ':sessions', base .. ':session_nodes'

forget_lapsed_sessions(base)
if redis.call('ZCARD', sessions) >= most and not redis.call('ZSCORE', sessions, id) then
  return { 0 }
end
redis.call('ZADD', sessions, text(now_us() / 1000 + ttl_ms), id)
redis.call('HSET', nodes, id, record)
if redis.call('PTTL', sessions) < ttl_ms then
  redis.call('PEXPIRE', sessions, ttl_ms)
  redis.call('PEXPIRE', nodes, ttl_ms)
end
prune(base, 'inbox', tonumber(ARGV[8]), tonumber(ARGV[9]))
return { 1, snapshot(base, ARGV[5], tonumber(ARGV[6]), ARGV[7]), person_digest(base) }
