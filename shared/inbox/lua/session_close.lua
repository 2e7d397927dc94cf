-- Forgets a session, and that it had the user's focus. ARGV: session id. Returns: 1 if it was open.
local base = KEYS[1]
redis.call('HDEL', base .. ':session_nodes', ARGV[1])
redis.call('ZREM', base .. ':focus', ARGV[1])
return redis.call('ZREM', base .. ':sessions', ARGV[1])
