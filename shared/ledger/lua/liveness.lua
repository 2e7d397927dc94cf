-- What the scripts about sources have in common, put before each of them.
--
-- KEYS[1] is a shard's base key such as carillon:{live07}; every other key is built from it and so has the same hash tag.
-- Times are milliseconds of the store's own clock.
--
--   base:of:SOURCE hash  state: alive, open (missing), inhibited (missing, as its parent is) or clean (it went of its own
--                        will). since: when that began. beat: when it was last heard of. patience: how long after it the
--                        next beat is missed. session: of the last birth. died: a death came after the last beat.
--                        incident: number of the last one. phase: what the router is to be told of it: opening, open
--                        (nothing) or closing. over: it was over before it was told. says: how it is told, in JSON.
--                        gone: the record was deleted. Kept until the record is deleted and its incident closed.
--   base:due       zset  armed sources by when the watch must look at them
--   base:tell      zset  sources of which the router is to be told something, by when
--   base:states    hash  state -> number of sources
--   base:watch     hash  seen: when the watch last looked; resumed: when it began to look again after a pause

local base = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local due, tell = base .. ':due', base .. ':tell'

local function number(value) return string.format('%.0f', value) end

local function key_of(source) return base .. ':of:' .. source end

local function read(source, ...)
  return unpack(redis.call('HMGET', key_of(source), ...))
end

local function put_state(source, before, after)
  if before == after then return end
  if before then redis.call('HINCRBY', base .. ':states', before, -1) end
  if after then
    redis.call('HINCRBY', base .. ':states', after, 1)
    redis.call('HSET', key_of(source), 'state', after, 'since', number(now))
  else
    redis.call('HDEL', key_of(source), 'state')
  end
end

-- An incident is always told before its end is: a router that died may have published its beginning, and what the broker
-- brings late must not open it again.
local function close(source, phase)
  if phase == 'opening' then
    redis.call('HSET', key_of(source), 'over', 1)
  elseif phase == 'open' then
    redis.call('HSET', key_of(source), 'phase', 'closing')
    redis.call('ZADD', tell, number(now), source)
  end
end

local function forget(source)
  local state, phase = read(source, 'state', 'phase')
  redis.call('ZREM', due, source)
  put_state(source, state, false)
  if phase then
    redis.call('HDEL', key_of(source), 'session', 'beat', 'died')
    redis.call('HSET', key_of(source), 'gone', 1)
    close(source, phase)
  else
    redis.call('DEL', key_of(source))
  end
end
