-- Functions of the inbox scripts. One user's base key holds:
--   base:inbox          zset  own notification ids by sequence
--   base:pinned         set   ids of own entries that nothing newer pushes out: alerts that wait for an answer
--   base:order          zset  the same ids by order: when each was accepted, in microseconds
--   base:entries        hash  id -> the notification's JSON, after a "q" if it was not to be shown live
--   base:state          hash  id of an own entry -> r (read) or a (archived); unread has no field
--   base:feed_state     hash  id of a feed entry -> r, a or u (unread again), then its sequence
--   base:meta           hash  epoch, seq, floor; version; feed_epoch, feed_read, feed_version; ordered
--   base:sessions       zset  open session ids by the millisecond at which they lapse
--   base:session_nodes  hash  session id -> node id, or the JSON of a gateway's session
--   base:focus          zset  ids of sessions that have the user's focus by the millisecond at which they lapse
-- The feed has base:log, base:order, base:entries and base:meta (epoch, seq, floor, ordered), and base:status.
--
-- A sequence is the microsecond of the entry, or one more than the last: it grows even when the store lost its newest
-- writes, so that no position that a client was given is ever used twice. Below 2^53, so a double holds it exactly.
-- floor is the highest sequence that is gone; a reader that stands below it has missed something.
--
-- A sequence says when an entry was written, and cursors are sequences. The order says where people read it: several
-- processes write, and which of them is first is chance. No two entries of a log have the same order.

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
    redis.call('ZREM', base .. ':order', doomed[index])
    redis.call('HDEL', base .. ':entries', doomed[index])
    redis.call('HDEL', base .. ':state', doomed[index])
    redis.call('SREM', base .. ':pinned', doomed[index])
  end
  if #doomed > 0 then
    redis.call('HSET', base .. ':meta', 'floor', text(tonumber(doomed[#doomed])))
  end
end

-- So many entries of a user may be pinned; who has more open alerts than that reads no inbox.
local PINNED_MOST = 200

-- Returns the order that is meant, or the next that no entry has.
local function free_order(base, order)
  while redis.call('ZCOUNT', base .. ':order', text(order), text(order)) > 0 do
    order = order + 1
  end
  return order
end

-- The previous release writes the log without the order: what it has added stands where it was written. It has left marks
-- without entries, too.
local function order_anew(base, log)
  local key, order_key = base .. ':' .. log, base .. ':order'
  local is_there = {}
  local all = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for index = 1, #all, 2 do
    is_there[all[index]] = true
    if not redis.call('ZSCORE', order_key, all[index]) then
      redis.call('ZADD', order_key, text(free_order(base, tonumber(all[index + 1]))), all[index])
    end
  end
  for _, id in ipairs(redis.call('ZRANGE', order_key, 0, -1)) do
    if not is_there[id] then
      redis.call('ZREM', order_key, id)
    end
  end
  for _, id in ipairs(redis.call('HKEYS', base .. ':state')) do
    if not is_there[id] then
      redis.call('HDEL', base .. ':state', id)
    end
  end
  local left_ms = redis.call('PTTL', key)
  if left_ms > 0 then
    redis.call('PEXPIRE', order_key, left_ms)
  end
end

-- Makes the keys of a log agree, before anything is read or added. "ordered" is the sequence up to which they did.
local function settle(base, log)
  local meta = base .. ':meta'
  local known = redis.call('HMGET', meta, 'seq', 'ordered', 'floor')
  local entries = redis.call('ZCARD', base .. ':' .. log)
  if not known[1] or (known[1] == known[2] and entries > 0 and entries == redis.call('ZCARD', base .. ':order')) then
    return
  end
  if entries > 0 then
    order_anew(base, log)
  elseif known[3] ~= known[1] then
    -- The log has expired as a whole, while a mark that was made later is kept longer. Without its entry it would be
    -- counted against entries that come after it.
    redis.call('DEL', base .. ':order', base .. ':entries', base .. ':state')
    redis.call('HSET', meta, 'floor', known[1])
  end
  redis.call('HSET', meta, 'ordered', known[1])
end

local function trim(base, log, limit, retention_s)
  local key = base .. ':' .. log
  local oldest = text(now_us() - retention_s * 1000000)
  forget(base, log, redis.call('ZRANGEBYSCORE', key, '-inf', '(' .. oldest, 'WITHSCORES'))
  -- Beside the limit, so that many open alerts leave room for the rest.
  local pinned = base .. ':pinned'
  local kept = redis.call('SCARD', pinned)
  local surplus = redis.call('ZCARD', key) - kept - limit
  if surplus <= 0 then
    return
  end
  local oldest_first = redis.call('ZRANGE', key, 0, surplus + kept - 1, 'WITHSCORES')
  local doomed = {}
  for index = 1, #oldest_first, 2 do
    if #doomed < 2 * surplus and redis.call('SISMEMBER', pinned, oldest_first[index]) == 0 then
      doomed[#doomed + 1] = oldest_first[index]
      doomed[#doomed + 1] = oldest_first[index + 1]
    end
  end
  forget(base, log, doomed)
end

local function prune(base, log, limit, retention_s)
  settle(base, log)
  trim(base, log, limit, retention_s)
end

local function unread(base)
  local entries = redis.call('ZCARD', base .. ':inbox')
  -- See settle, which those that only count do not call.
  return entries == 0 and 0 or entries - redis.call('HLEN', base .. ':state')
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

-- Returns an own entry as scripts answer it: id, sequence, order, state, value.
local function add_entry(answer, base, id, sequence, order)
  answer[#answer + 1] = id
  answer[#answer + 1] = text(tonumber(sequence))
  answer[#answer + 1] = text(tonumber(order))
  answer[#answer + 1] = redis.call('HGET', base .. ':state', id) or ''
  answer[#answer + 1] = redis.call('HGET', base .. ':entries', id) or ''
end

-- Ids that are read together; more and more where few of them are wanted.
local MOST_TOGETHER = 200

-- Returns at most `most` own entries whose state is one of the letters in `want`, the newest first, from those below
-- `upper` (a bound of ZREVRANGEBYSCORE), and the bound to go on from, or ''. It looks at `looked` ids at most.
local function newest(base, upper, want, most, looked)
  local entries, count, together = {}, 0, math.min(most, MOST_TOGETHER)
  while looked > 0 do
    local found = redis.call('ZREVRANGEBYSCORE', base .. ':order', upper, '-inf', 'WITHSCORES', 'LIMIT', 0, together)
    for index = 1, #found, 2 do
      local id = found[index]
      if string.find(want, redis.call('HGET', base .. ':state', id) or 'u', 1, true) then
        add_entry(entries, base, id, redis.call('ZSCORE', base .. ':inbox', id), found[index + 1])
        count = count + 1
      end
      upper = '(' .. text(tonumber(found[index + 1]))
      if count == most then
        return entries, upper
      end
    end
    if #found < 2 * together then
      return entries, ''
    end
    looked = looked - together
    together = math.min(2 * together, MOST_TOGETHER)
  end
  return entries, upper
end

-- Returns the position, the feed states (id, state, ...) and own entries. want is "pending" for the newest unread ones, at
-- most `most`, the newest first; or the sequence after which entries are wanted, as they were written.
local function snapshot(base, want, most)
  local entries = {}
  if want == 'pending' then
    -- Who has read everything, or nearly, has not all of the inbox looked at for it.
    most = math.min(most, unread(base))
    if most > 0 then
      entries = newest(base, '+inf', 'u', most, math.huge)
    end
  else
    local found = redis.call('ZRANGEBYSCORE', base .. ':inbox', '(' .. want, '+inf', 'WITHSCORES')
    for index = 1, #found, 2 do
      local order = redis.call('ZSCORE', base .. ':order', found[index])
      add_entry(entries, base, found[index], found[index + 1], order)
    end
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
    if (tonumber(string.sub(all[index + 1], 2)) or 0) <= feed_floor then
      redis.call('HDEL', states, all[index])
    end
  end
  return tonumber(known[2] or '0') or 0
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
