-- Forgets a session. ARGV: session id. Returns: 1 if it was open.
local base = KEYS[1]
redis.call('HDEL', base .. ':session_nodes', ARGV[1])
return redis.call('ZREM', base .. ':sessions', ARGV[1])
