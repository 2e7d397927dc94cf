-- Note what a source has said.
--
-- ARGV: beat, birth, death or clean (a death of its own will); the source; its patience in ms; its session or ''.
-- Answer: 1, or 0 where it says nothing new: a death of another session, or of what is not armed or is missing already.

local what, source, patience, session = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local state, known, phase, since = read(source, 'state', 'session', 'phase', 'since')

-- Two routers may bring the last beat after the clean death.
local LATE_BEAT_MS = 5000

if what == 'death' or what == 'clean' then
  if not state or state == 'clean' or (known or '') ~= session then return 0 end
  if what == 'clean' then
    redis.call('ZREM', due, source)
    close(source, phase)
    put_state(source, state, 'clean')
    return 1
  end
  if state ~= 'alive' then return 0 end
  redis.call('HSET', key_of(source), 'died', 1)
  redis.call('ZADD', due, number(now), source)
  return 1
end

if what == 'birth' then
  redis.call('HSET', key_of(source), 'session', session)
elseif state == 'clean' and now < tonumber(since) + LATE_BEAT_MS then
  return 0
end
redis.call('HSET', key_of(source), 'beat', number(now), 'patience', number(patience))
redis.call('HDEL', key_of(source), 'died', 'gone')
redis.call('ZADD', due, number(now + patience), source)
close(source, phase)
put_state(source, state, 'alive')
return 1
