-- Functions of the inbox scripts. One user's base key holds:
--   base:inbox          zset  own notification ids by sequence
--   base:pinned         set   ids of own entries that nothing newer pushes out: alerts that wait for an answer
--   base:order          zset  the same ids by order: when each was accepted, in microseconds
--   base:entries        hash  id -> the notification's JSON, after a "q" if it was not to be shown live
--   base:state          hash  id of an own entry -> r (read), a (archived) or s (snoozed); unread has no field
--   base:snoozed        zset  ids of snoozed own entries by the millisecond at which they come back
--   base:tenants        hash  id of an own entry -> its tenant; only of entries that have one
--   base:acted          hash  id -> JSON: action -> 0 if its press was published, else until when somebody publishes it
--   base:feed_state     hash  id of a feed entry -> r, a or u (unread again), then its sequence; a0 and the sequence: the
--                             user has an own entry in its place
--   base:meta           hash  epoch, seq, floor; version; feed_epoch, feed_read, feed_version; ordered; wake: the first
--                             millisecond of base:snoozed, and how long what comes back is kept; tenanted: 1 while
--                             there is base:tenants
--   base:recalled       zset  ids of entries that were taken back, by the microsecond at which they were
--   base:sessions       zset  open session ids by the millisecond at which they lapse
--   base:session_nodes  hash  session id -> node id, or the JSON of a gateway's session
--   base:focus          zset  ids of sessions that have the user's focus by the millisecond at which they lapse
-- The feed has base:log, base:order, base:entries, base:recalled and base:meta (epoch, seq, floor, ordered), and
-- base:status.
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

-- So many entries that were taken back are remembered, so that they do not come again and clients hear of it.
local RECALLED_MOST = 200

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

-- So many entries of a user may be snoozed.
local SNOOZED_MOST = 200

local function keep(base, retention_s, ...)
  for _, name in ipairs({ ... }) do
    redis.call('EXPIRE', base .. ':' .. name, retention_s)
  end
end

-- Writes down when the next snoozed entry comes back, so that users without one have nothing looked up for it.
local function next_wake(base, retention_s)
  local first = redis.call('ZRANGE', base .. ':snoozed', 0, 0, 'WITHSCORES')
  if first[2] then
    redis.call('HSET', base .. ':meta', 'wake', text(tonumber(first[2])) .. ' ' .. retention_s)
  else
    redis.call('HDEL', base .. ':meta', 'wake')
  end
end

-- Changes what stands behind the notification's own fields: until when the entry is, or was, snoozed.
local function note_snooze(base, id, until_ms)
  local value = redis.call('HGET', base .. ':entries', id)
  if value then
    value = string.gsub(value, ',"snoozed_until":[%d.]+}$', '}')
    if until_ms then
      value = string.format('%s,"snoozed_until":%.3f}', string.sub(value, 1, -2), until_ms / 1000)
    end
    redis.call('HSET', base .. ':entries', id, value)
  end
end

-- Lets a snoozed entry come back: unread, where it stands at that moment, and with a sequence of its own, so that every
-- session is told of it as of one that was written now. Returns what it is then, or nothing if it was not snoozed.
local function come_back(base, id, at_ms)
  redis.call('ZREM', base .. ':snoozed', id)
  local meta = base .. ':meta'
  if redis.call('HGET', base .. ':state', id) ~= 's' or not redis.call('ZSCORE', base .. ':inbox', id) then
    return nil
  end
  local known = redis.call('HMGET', meta, 'seq', 'ordered', 'version')
  local before = tonumber(known[1] or '0')
  local sequence = math.max(before + 1, now_us())
  local order = free_order(base, at_ms * 1000)
  redis.call('HSET', meta, 'seq', text(sequence), 'version', text(tonumber(known[3] or '0') + 1))
  if known[1] == known[2] then
    redis.call('HSET', meta, 'ordered', text(sequence))
  end
  redis.call('ZADD', base .. ':inbox', text(sequence), id)
  redis.call('ZADD', base .. ':order', text(order), id)
  redis.call('HDEL', base .. ':state', id)
  note_snooze(base, id, at_ms)
  return { id = id, before = before, sequence = sequence, order = order }
end

-- Lets come back what was snoozed until now. ``wake`` is the field of base:meta. Returns what came back.
local function wake_up(base, wake)
  local first_ms, retention_s = string.match(wake, '^(%d+) (%d+)$')
  local now_ms = math.floor(now_us() / 1000)
  local back = {}
  if not first_ms or tonumber(first_ms) > now_ms then
    return back
  end
  local due = redis.call('ZRANGEBYSCORE', base .. ':snoozed', '-inf', text(now_ms), 'WITHSCORES')
  for index = 1, #due, 2 do
    back[#back + 1] = come_back(base, due[index], tonumber(due[index + 1]))
  end
  next_wake(base, retention_s)
  keep(base, retention_s, 'inbox', 'order', 'entries', 'meta', 'state', 'snoozed', 'tenants')
  return back
end

-- Makes the keys of a log agree, before anything is read or added. "ordered" is the sequence up to which they did.
-- Returns whether there may be snoozed entries.
local function settle(base, log)
  local meta = base .. ':meta'
  local known = redis.call('HMGET', meta, 'seq', 'ordered', 'floor', 'wake')
  local entries = redis.call('ZCARD', base .. ':' .. log)
  if known[4] then
    wake_up(base, known[4])
    known = redis.call('HMGET', meta, 'seq', 'ordered', 'floor', 'wake')
  end
  local has_snoozed = known[4] and true or false
  if not known[1] or (known[1] == known[2] and entries > 0 and entries == redis.call('ZCARD', base .. ':order')) then
    return has_snoozed
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
  return has_snoozed
end

-- Takes the snoozed out of a list of ids and sequences.
local function not_snoozed(base, entries)
  local others = {}
  for index = 1, #entries, 2 do
    if not redis.call('ZSCORE', base .. ':snoozed', entries[index]) then
      others[#others + 1] = entries[index]
      others[#others + 1] = entries[index + 1]
    end
  end
  return others
end

-- has_snoozed: there may be snoozed entries. They stay, because they are to come back.
local function trim(base, log, limit, retention_s, has_snoozed)
  local key = base .. ':' .. log
  local oldest = text(now_us() - retention_s * 1000000)
  local old = redis.call('ZRANGEBYSCORE', key, '-inf', '(' .. oldest, 'WITHSCORES')
  forget(base, log, has_snoozed and not_snoozed(base, old) or old)
  -- Beside the limit, so that many open alerts leave room for the rest.
  local pinned = base .. ':pinned'
  local kept = redis.call('SCARD', pinned)
  if has_snoozed then
    kept = kept + redis.call('ZCARD', base .. ':snoozed')
  end
  local surplus = redis.call('ZCARD', key) - kept - limit
  if surplus <= 0 then
    return
  end
  local oldest_first = redis.call('ZRANGE', key, 0, surplus + kept - 1, 'WITHSCORES')
  if has_snoozed then
    oldest_first = not_snoozed(base, oldest_first)
  end
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
  trim(base, log, limit, retention_s, settle(base, log))
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

-- Says of an own entry whose it is. Users without such entries have no key for it, and nothing looked up.
local function note_tenant(base, id, tenant)
  if tenant and tenant ~= '' then
    redis.call('HSET', base .. ':tenants', id, tenant)
    redis.call('HSET', base .. ':meta', 'tenanted', '1')
  end
end

-- Counts the unread own entries of each tenant: name, count, ... Forgets those of entries that are gone.
local function unread_by_tenant(base)
  local key, counts, left = base .. ':tenants', {}, 0
  local all = redis.call('HGETALL', key)
  for index = 1, #all, 2 do
    local id, tenant = all[index], all[index + 1]
    if not redis.call('ZSCORE', base .. ':inbox', id) then
      redis.call('HDEL', key, id)
    else
      left = left + 1
      if not redis.call('HGET', base .. ':state', id) then
        counts[tenant] = (counts[tenant] or 0) + 1
      end
    end
  end
  if left == 0 then
    redis.call('HDEL', base .. ':meta', 'tenanted')
  end
  local answer = {}
  for tenant, count in pairs(counts) do
    answer[#answer + 1] = tenant
    answer[#answer + 1] = count
  end
  return answer
end

-- Returns epoch, seq, floor, unread, version, feed_version, feed_epoch, feed_read, when a snoozed entry comes back, and
-- the unread ones of each tenant.
local function position(base)
  local names = { 'epoch', 'seq', 'floor', 'version', 'feed_version', 'feed_epoch', 'feed_read', 'wake', 'tenanted' }
  local meta = redis.call('HMGET', base .. ':meta', unpack(names))
  if meta[8] and #wake_up(base, meta[8]) > 0 then
    meta = redis.call('HMGET', base .. ':meta', unpack(names))
  end
  return {
    meta[1] or '', meta[2] or '0', meta[3] or '0', unread(base),
    meta[4] or '0', meta[5] or '0', meta[6] or '', meta[7] or '0', meta[8] and string.match(meta[8], '^%d+') or '0',
    meta[9] and unread_by_tenant(base) or {},
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

-- Returns the category of an entry as the JSON that stands in its value. ``wire_body`` writes the fields in this order,
-- and inside a text a quotation mark has a backslash before it. So nothing else can look like it.
local function category_of(value)
  local _, before = string.find(value, '"priority":"%a+","category":')
  return before and string.match(value, '^(.-),"data":', before + 1) or 'null'
end

-- Makes the question whether an own entry is one of those that are asked for: of the tenant (or '', everybody's) and of
-- one of the categories (nil: of any), a set of them as JSON.
local function is_asked_for(base, tenant, categories)
  local by_tenant = tenant ~= '' and redis.call('HGET', base .. ':meta', 'tenanted')
  if not by_tenant and not categories then
    return nil
  end
  return function(id)
    local whose = by_tenant and redis.call('HGET', base .. ':tenants', id)
    if whose and whose ~= tenant then
      return false
    end
    return not categories or categories[category_of(redis.call('HGET', base .. ':entries', id) or '')]
  end
end

-- Ids that are read together; more and more where few of them are wanted.
local MOST_TOGETHER = 200

-- Returns at most `most` own entries whose state is one of the letters in `want` and that are `asked` for (nil: all), the
-- newest first, from those below `upper` (a bound of ZREVRANGEBYSCORE), and the bound to go on from, or ''. It looks at
-- `looked` ids at most.
local function newest(base, upper, want, most, looked, asked)
  local entries, count, together = {}, 0, math.min(most, MOST_TOGETHER)
  while looked > 0 do
    local found = redis.call('ZREVRANGEBYSCORE', base .. ':order', upper, '-inf', 'WITHSCORES', 'LIMIT', 0, together)
    for index = 1, #found, 2 do
      local id = found[index]
      if string.find(want, redis.call('HGET', base .. ':state', id) or 'u', 1, true) and (not asked or asked(id)) then
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
-- most `most`, the newest first, of one tenant and nobody's (tenant is not ''); or the sequence after which entries are
-- wanted, as they were written, with the ids of those that were taken back since.
local function snapshot(base, want, most, tenant)
  local entries, recalled = {}, {}
  if want == 'pending' then
    -- Who has read everything, or nearly, has not all of the inbox looked at for it.
    most = math.min(most, unread(base))
    if most > 0 then
      entries = newest(base, '+inf', 'u', most, math.huge, is_asked_for(base, tenant, nil))
    end
  else
    local found = redis.call('ZRANGEBYSCORE', base .. ':inbox', '(' .. want, '+inf', 'WITHSCORES')
    for index = 1, #found, 2 do
      local order = redis.call('ZSCORE', base .. ':order', found[index])
      add_entry(entries, base, found[index], found[index + 1], order)
    end
    recalled = redis.call('ZRANGEBYSCORE', base .. ':recalled', '(' .. want, '+inf')
  end
  return { position(base), redis.call('HGETALL', base .. ':feed_state'), entries, recalled }
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

-- Gives the user an own entry in place of one of the feed, for what only an own entry can be. It stands where that one
-- stands. feed: its id, value, sequence and order, epoch and floor of the feed, and its tenant.
local function adopt(base, feed, epoch)
  local meta, id = base .. ':meta', feed.id
  local read_up_to = settle_feed_state(base, feed.epoch, feed.floor)
  local stored = redis.call('HGET', base .. ':feed_state', id)
  local mark = stored and string.sub(stored, 1, 1) or (feed.sequence <= read_up_to and 'r' or 'u')
  redis.call('HSET', base .. ':feed_state', id, 'a0' .. text(feed.sequence))
  redis.call('HSETNX', meta, 'epoch', epoch)
  local sequence = math.max(tonumber(redis.call('HGET', meta, 'seq') or '0') + 1, now_us())
  redis.call('HSET', meta, 'seq', text(sequence), 'ordered', text(sequence))
  redis.call('ZADD', base .. ':inbox', text(sequence), id)
  redis.call('ZADD', base .. ':order', text(free_order(base, feed.order)), id)
  redis.call('HSET', base .. ':entries', id, feed.value)
  if mark ~= 'u' then
    redis.call('HSET', base .. ':state', id, mark)
  end
  note_tenant(base, id, feed.tenant)
end

-- Reads a feed entry from the arguments, from this one on: its value, sequence and order, epoch and floor of the feed,
-- and its tenant or ''.
local function feed_entry(id, first)
  return {
    id = id, value = ARGV[first], sequence = tonumber(ARGV[first + 1]), order = tonumber(ARGV[first + 2]),
    epoch = ARGV[first + 3], floor = tonumber(ARGV[first + 4]),
    tenant = ARGV[first + 5],
  }
end

-- Above so many entries with pressed actions, those of entries that are gone are forgotten.
local PRESSED_MOST = 200

-- Returns what was pressed of an entry: action -> see base:acted.
local function pressed_actions(base, id)
  local is_read, pressed = pcall(cjson.decode, redis.call('HGET', base .. ':acted', id) or '{}')
  return is_read and type(pressed) == 'table' and pressed or {}
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
