-- Keeps sessions open for another while and tells where the inbox stands.
-- ARGV: ttl_ms, then session id and record, ...; an empty record keeps a session that is there and makes none.
-- Returns: how many are open, position, a digest of the user's directory record.
local base = KEYS[1]
local ttl_ms = tonumber(ARGV[1])
local sessions, nodes = base .. ':sessions', base .. ':session_nodes'
local lapse = text(now_us() / 1000 + ttl_ms)
local open = 0
forget_lapsed_sessions(base)
for index = 2, #ARGV, 2 do
  local id, record = ARGV[index], ARGV[index + 1]
  if record ~= '' or redis.call('ZSCORE', sessions, id) then
    redis.call('ZADD', sessions, lapse, id)
    if record ~= '' then
      redis.call('HSET', nodes, id, record)
    end
    open = open + 1
  end
end
if open > 0 then
  -- Sessions of other kinds live longer; the longest of them decides when the keys go.
  if redis.call('PTTL', sessions) < ttl_ms then
    redis.call('PEXPIRE', sessions, ttl_ms)
    redis.call('PEXPIRE', nodes, ttl_ms)
  end
end
return { open, position(base), person_digest(base) }
