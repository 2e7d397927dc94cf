-- Put an item into its group's open digest, or open the next one; or let it go out alone, as the first of a window.
--
-- The group's window stands in base:digest:GROUP: `id` is its digest, `ends` when it ends. A window that was begun by an
-- item that went out alone has no id until the next item. The digest's record keeps, beside what every record has:
--   digest       open, closed (its items left with it) or dropped (it ended without being closed)
--   digest:ends  when it may be closed
--   digest:as    what never changes: channel|group|latest end|ms by which an item moves the end, or 0|texts kept
--   digest:bytes how much the kept texts are together
-- Beside the record stand base:members:ID (all "ID|KEY" of the items, by their time) and base:texts:ID (the newest texts).
-- base:digests:CHANNEL holds the open digests by how many items they have.
--
-- ARGV: group, the item's "ID|KEY", its time in ms, its text, for how long after the window it is remembered in s,
--       retention s, most bytes of texts kept. Then for a new digest: its id, content, publisher or '', channel, ms of a
--       window, when it ends in ms (0: after the window), 1 when items move the end, how far at most after the begin in
--       ms, 1 when the first of a window goes out alone, most texts kept, its row.
-- Answer: {id of the digest, or '' when the item goes out alone, 1 when it was opened by this item, else 0}.

local group, member, at, text = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local remembered_s, retention_s, most_bytes = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local new_id, content, publisher, channel = ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local window, fixed_end, sliding, at_most = tonumber(ARGV[12]), tonumber(ARGV[13]), ARGV[14] == '1', tonumber(ARGV[15])
local first_now, most_texts, row_at = ARGV[16] == '1', ARGV[17], 18
-- The row that closes a digest may be late by this much at least, whatever its deadline.
local LATE_MS = 86400000

local pointer, known = base .. ':digest:' .. group, base .. ':folded:' .. member

local before = redis.call('GET', known)
if before then
  return {before, 0}
end

local function remember(id, until_ms)
  redis.call('SET', known, id, 'EX', number(remembered_s + math.ceil(math.max(0, until_ms - now) / 1000)))
end

local function put(id, record, its_channel, latest, texts_kept)
  local texts = base .. ':texts:' .. id
  redis.call('ZADD', base .. ':members:' .. id, at, member)
  local kept = redis.call('RPUSH', texts, text)
  local bytes = count_field(record, 'digest:bytes', #text)
  while kept > texts_kept or (bytes > most_bytes and kept > 1) do
    bytes = count_field(record, 'digest:bytes', -#redis.call('LPOP', texts))
    kept = kept - 1
  end
  remember(id, latest)
  redis.call('ZINCRBY', base .. ':digests:' .. its_channel, 1, id)
  count_items(its_channel, 'in', 1)
  count_items(its_channel, 'waiting', 1)
end

local begun = redis.call('HMGET', pointer, 'id', 'began', 'ends')

-- Join the digest that is open. One that was cancelled, or that the previous release has ended, is open no more.
if begun[1] then
  local id, record = begun[1], record_key(begun[1])
  local found = read_fields(record, 'digest', 'digest:ends', 'digest:as', 'cancelled', 'open')
  local its_channel, latest, step, texts_kept =
    string.match(found and found[3] or '', '^(%a+)|%x+|(%d+)|(%d+)|(%d+)$')
  if its_channel and found[1] == 'open' and not found[4] and count_of(found[5]) > 0 then
    latest, step = tonumber(latest), tonumber(step)
    local ends = count_of(found[2])
    if step > 0 and math.min(now + step, latest) > ends then
      local moved = number(math.min(now + step, latest))
      redis.call('HSET', record, 'digest:ends', moved)
      redis.call('HSET', pointer, 'ends', moved)
    end
    put(id, record, its_channel, latest, tonumber(texts_kept))
    return {id, 0}
  end
  if found and found[1] == 'open' and count_of(found[5]) <= 0 then
    expire_record(id, record, retention_s)
  end
end

local began, ends = tonumber(begun[2] or ''), tonumber(begun[3] or '')
local is_first = not ends or ends <= now
if is_first then
  began, ends = now, fixed_end > 0 and fixed_end or now + window
elseif sliding then
  ends = math.max(ends, math.min(now + window, began + at_most))
end
if is_first then
  redis.call('DEL', pointer)
  redis.call('HSET', pointer, 'began', number(began), 'ends', number(ends))
end
if is_first and first_now then
  redis.call('PEXPIREAT', pointer, number(math.max(ends, now + 1)))
  remember('', ends)
  return {'', 0}
end

local latest = sliding and math.max(ends, began + at_most) or ends
local record = record_key(new_id)
ARGV[row_at + 5] = number(math.max(ends, now + 1))
ARGV[row_at + 6] = number(math.max(tonumber(ARGV[row_at + 6]), latest + LATE_MS))
local fields = {
  'c', content, 'at', number(now), 'digest', 'open', 'digest:ends', number(ends),
  'digest:as', table.concat({channel, group, number(latest), number(sliding and window or 0), most_texts}, '|'),
}
if publisher ~= '' then
  fields[#fields + 1] = 'publisher'
  fields[#fields + 1] = publisher
end
-- It is not due yet, so it needs no room in a window.
redis.call('HSET', record, 'open', (add_rows(new_id, record, row_at, #ARGV, every, fields, nil, {}, 0)))
redis.call('HSET', pointer, 'id', new_id)
redis.call('PERSIST', pointer)
put(new_id, record, channel, latest, tonumber(most_texts))
return {new_id, 1}
