-- Functions of the inbox scripts. One user's base key holds:
--   base:inbox          zset  own notification ids by sequence
--   base:entries        hash  id -> the notification's JSON, after a "q" if it was not to be shown live
--   base:state          hash  id of an own entry -> r (read) or a (archived); unread has no field
--   base:feed_state     hash  id of a feed entry -> r, a or u (unread again), then its sequence
--   base:meta           hash  epoch, seq, floor; version; feed_epoch, feed_read, feed_version
--   base:sessions       zset  open session ids by the millisecond at which they lapse
--   base:session_nodes  hash  session id -> node id, or the JSON of a gateway's session
--   base:focus          zset  ids of sessions that have the user's focus by the millisecond at which they lapse
-- The feed has base:log, base:entries and base:meta (epoch, seq, floor), and base:status.
--
-- A sequence is the microsecond of the entry, or one more than the last: it grows even when the store lost its newest
-- writes, so that no position that a client was given is ever used twice. Below 2^53, so a double holds it exactly.
-- floor is the highest sequence that is gone; a reader that stands below it has missed something.

local function text(number)
  return string.format('%.0f', number)
end

local function now_us()
  local now = redis.call('TIME')
  return now[1] * 1000000 + now[2]
end

local function forget(base, log, doomed)
  for index = 1, #doomed, 2 do
    redis.call('ZREM', base .. ':' .. log, doomed[index])
    redis.call('HDEL', base .. ':entries', doomed[index])
    redis.call('HDEL', base .. ':state', doomed[index])
  end
  if #doomed > 0 then
    redis.call('HSET', base .. ':meta', 'floor', text(tonumber(doomed[#doomed])))
  end
end

local function prune(base, log, limit, retention_s)
  local key = base .. ':' .. log
  local oldest = text(now_us() - retention_s * 1000000)
  forget(base, log, redis.call('ZRANGEBYSCORE', key, '-inf', '(' .. oldest, 'WITHSCORES'))
  local surplus = redis.call('ZCARD', key) - limit
  if surplus > 0 then
    forget(base, log, redis.call('ZRANGE', key, 0, surplus - 1, 'WITHSCORES'))
  end
end

local function unread(base)
  return redis.call('ZCARD', base .. ':inbox') - redis.call('HLEN', base .. ':state')
end

-- Tells one state of what the directory and the user say about the user from another.
local function person_digest(base)
  return redis.sha1hex((redis.call('GET', base .. ':record') or '') .. (redis.call('GET', base .. ':own') or ''))
end

local function forget_lapsed_sessions(base)
  for _, lapsed in ipairs(redis.call('ZRANGEBYSCORE', base .. ':sessions', '-inf', '(' .. text(now_us() / 1000))) do
    redis.call('ZREM', base .. ':sessions', lapsed)
    redis.call('HDEL', base .. ':session_nodes', lapsed)
  end
end

-- Returns the records of the sessions that have not lapsed.
local function session_records(base)
  local records = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', base .. ':sessions', text(now_us() / 1000), '+inf')) do
    records[#records + 1] = redis.call('HGET', base .. ':session_nodes', id) or nil
  end
  return records
end

-- Returns epoch, seq, floor, unread, version, feed_version, feed_epoch, feed_read.
local function position(base)
  local meta = redis.call('HMGET', base .. ':meta', 'epoch', 'seq', 'floor', 'version', 'feed_version', 'feed_epoch', 'feed_read')
  return {
    meta[1] or '', meta[2] or '0', meta[3] or '0', unread(base),
    meta[4] or '0', meta[5] or '0', meta[6] or '', meta[7] or '0',
  }
end

-- Returns the position, the feed states (id, state, ...) and own entries, oldest first (id, sequence, state, value, ...).
-- want is "pending" for the newest unread ones, at most `most`, or the sequence after which entries are wanted.
local function snapshot(base, want, most)
  local key = base .. ':inbox'
  local found = {}
  if want == 'pending' then
    local newest = redis.call('ZREVRANGE', key, 0, -1, 'WITHSCORES')
    for index = 1, #newest, 2 do
      if #found >= most * 2 then
        break
      end
      if redis.call('HEXISTS', base .. ':state', newest[index]) == 0 then
        table.insert(found, 1, newest[index + 1])
        table.insert(found, 1, newest[index])
      end
    end
  else
    found = redis.call('ZRANGEBYSCORE', key, '(' .. want, '+inf', 'WITHSCORES')
  end
  local entries = {}
  for index = 1, #found, 2 do
    entries[#entries + 1] = found[index]
    entries[#entries + 1] = text(tonumber(found[index + 1]))
    entries[#entries + 1] = redis.call('HGET', base .. ':state', found[index]) or ''
    entries[#entries + 1] = redis.call('HGET', base .. ':entries', found[index]) or ''
  end
  return { position(base), redis.call('HGETALL', base .. ':feed_state'), entries }
end

local function keep(base, retention_s, ...)
  for _, name in ipairs({ ... }) do
    redis.call('EXPIRE', base .. ':' .. name, retention_s)
  end
end

-- Starts the feed states over when the feed itself did, and drops those of feed entries that are gone.
-- Returns the sequence up to which everything is read.
local function settle_feed_state(base, feed_epoch, feed_floor)
  local meta, states = base .. ':meta', base .. ':feed_state'
  local known = redis.call('HMGET', meta, 'feed_epoch', 'feed_read')
  if known[1] ~= feed_epoch then
    redis.call('DEL', states)
    redis.call('HSET', meta, 'feed_epoch', feed_epoch, 'feed_read', '0')
    return 0
  end
  local all = redis.call('HGETALL', states)
  for index = 1, #all, 2 do
    if tonumber(string.sub(all[index + 1], 2)) <= feed_floor then
      redis.call('HDEL', states, all[index])
    end
  end
  return tonumber(known[2] or '0')
end

-- What every change of read states answers: the position, the feed states and the sessions to be told.
local function changed(base, retention_s, feed_too)
  redis.call('HINCRBY', base .. ':meta', 'version', 1)
  if feed_too then
    redis.call('HINCRBY', base .. ':meta', 'feed_version', 1)
  end
  keep(base, retention_s, 'meta', 'state', 'feed_state')
end

local function told(base, was_changed)
  return { was_changed and 1 or 0, position(base), redis.call('HGETALL', base .. ':feed_state'), session_records(base) }
end
