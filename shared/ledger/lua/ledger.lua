-- The ledger's common functions, put before each ledger script.
--
-- KEYS[1] is a shard's base key such as carillon:{s07}; every other key is built from it and so has the same hash tag.
-- Times are milliseconds of the store's own clock, so that a process with a wrong clock cannot steal a lease.
--
-- A row is a delivery, or a router's task. Its status is one string, fields joined by "|":
--   state lane priority token attempts redrives due born expires reason
-- state: p pending, s sending, d delivered, x suppressed, e expired, l dead-lettered. due is when a pending row may be
-- claimed, or when a sending row's lease ends. born is when it first became due: its minute and second are what the
-- tallies and the age of open work are counted by. Beside it, e:KEY counts the attempts that failed by an error of our
-- own, w:KEY the leases that lapsed one after the other, and r:KEY ("times|ms of the first") how often a provider refused
-- it without anybody knowing whose fault that is; most rows have none of them. q:KEY is the status of a row that could not
-- be read. k:KEY is what a provider said later of a delivery that it has taken, b:KEY all of it, see confirm.lua.

local base = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Both count from the minute itself, so that the accounts of what is due in a month are not forgotten before.
local TALLY_RETENTION_S = 8 * 86400
local BORN_RETENTION_S = 8 * 86400
local STATE_WORDS = {d = 'delivered', x = 'suppressed', e = 'expired', l = 'dead_lettered'}

local function record_key(id) return base .. ':n:' .. id end

-- Write a whole number. '%d' takes a fraction of the time of '%.0f', and holds what the 64 bits of a C long do.
local MOST_EXACT = 2 ^ 53

local function number(value)
  return string.format(value > -MOST_EXACT and value < MOST_EXACT and '%d' or '%.0f', value)
end

local STATES = {p = true, s = true, d = true, x = true, e = true, l = true}
local PRIORITIES = {low = true, normal = true, high = true, critical = true}
-- The end of the year 9999: a later time is none of ours, and other programs cannot write it.
local LATEST_MS = 253402300799999

-- Read a status; nil when it is none of ours, or damaged.
local function read_row(text)
  local state, lane, priority, token, attempts, redrives, due, born, expires, reason =
    string.match(text or '', '^(%a)|(%a+)|(%a+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(.*)$')
  if not STATES[state or ''] or not PRIORITIES[priority] then
    return nil
  end
  if math.max(tonumber(due), tonumber(born), tonumber(token), tonumber(attempts), tonumber(redrives)) > LATEST_MS then
    return nil
  end
  return {
    state = state, lane = lane, priority = priority, token = tonumber(token), attempts = tonumber(attempts),
    redrives = tonumber(redrives), due = tonumber(due), born = tonumber(born), expires = tonumber(expires),
    reason = reason,
  }
end

local function row_text(row)
  return table.concat({
    row.state, row.lane, row.priority, number(row.token), number(row.attempts), number(row.redrives),
    number(row.due), number(row.born), number(row.expires), row.reason,
  }, '|')
end

local function write_row(record, key, row)
  redis.call('HSET', record, 's:' .. key, row_text(row))
end

-- Read a number; what is none, or damaged, is 0.
local function count_of(text) return tonumber(text or 0) or 0 end

-- Count a field of a hash up or down; one that holds no number begins anew, and then the second answer is true.
local function count_field(key, field, step)
  local left = redis.pcall('HINCRBY', key, field, step)
  if type(left) ~= 'number' then
    redis.call('HSET', key, field, step)
    return step, true
  end
  return left
end

-- Count the open rows of a record up or down; a count that cannot be right is made anew from the rows.
local function count_record(record, step)
  local left = redis.pcall('HINCRBY', record, 'open', step)
  if type(left) == 'number' and left >= 0 then
    return left
  end
  left = 0
  local fields = redis.call('HGETALL', record)
  for i = 1, #fields, 2 do
    local row = string.sub(fields[i], 1, 2) == 's:' and read_row(fields[i + 1])
    if row and (row.state == 'p' or row.state == 's') then left = left + 1 end
  end
  redis.call('HSET', record, 'open', left)
  return left
end

local function add_tally(minute, field, count)
  local key = base .. ':tally:' .. minute
  if count_field(key, field, count) == count then
    local from_s = math.max(minute * 60, math.floor(now / 1000))
    redis.call('EXPIREAT', key, number(from_s + TALLY_RETENTION_S))
    redis.call('EXPIREAT', base .. ':born:' .. minute, number(from_s + BORN_RETENTION_S))
  end
end

local function tally(row, word, count)
  add_tally(number(math.floor(row.born / 60000)), row.lane .. '|' .. word, count)
end

-- The open rows of a lane are counted by the second in which they became due, and as a whole. The seconds that have any
-- stand in base:since:LANE in their order, so that the oldest is found without reading all of them. The previous release
-- knows base:age:LANE alone: open_work.lua makes the others right where it has written.
--
-- A row of which only the minute was known may have been counted out of another's second (born_of). The other one is then
-- counted out of a second of its minute that has one too many.
local function counted_in_minute(ages, second)
  local first, seconds = second - second % 60, {}
  for each = first, first + 59 do seconds[#seconds + 1] = number(each) end
  for i, count in ipairs(redis.call('HMGET', ages, unpack(seconds))) do
    if count_of(count) > 0 then return seconds[i] end
  end
end

local function count_lane(lane, second, step)
  local ages, since = base .. ':age:' .. lane, base .. ':since:' .. lane
  local left, was_damaged = count_field(ages, second, step)
  if left < 0 and not was_damaged then
    redis.call('HDEL', ages, second)
    second = counted_in_minute(ages, second) or second
    left = count_field(ages, second, step)
  end
  if left <= 0 then
    redis.call('HDEL', ages, second)
    redis.call('ZREM', since, second)
  elseif left == step then
    redis.call('ZADD', since, second, second)
  end
end

-- A job may stand at the broker only for a row that was handed over. Per lane and priority there is a window of those that
-- nobody has claimed, base:out:LANE:PRIORITY, by the time at which the handover counts as lost. What finds no room there
-- waits in base:ready:LANE:PRIORITY, by its turn. A row is in one of them or in neither. Beside that, each open row stands
-- in base:due:LANE once: with the same time as in the window, or while it waits with the next time at which it is looked at,
-- or its deadline, which then ends it. The previous release, which knows nothing of what waits, publishes it at that time.
--
-- Turns are those of self-clocked fair queuing (Golestani, INFOCOM 1994): a row's turn is one step, divided by the
-- publisher's share, after the publisher's last turn or, where that is over, after the turn that was taken last.
-- base:fair:LANE:PRIORITY holds these numbers while anything waits: the publishers' by name, the last one under ''.
local ROWS_CHECKED = 32
local LOOK_AGAIN_MS = 600000

local lines = {}

-- Return the line of a lane and priority: its keys, the room in its window, and whether anything waits.
local function line_of(lane, priority, window)
  local name = lane .. ':' .. priority
  local line = lines[name]
  if not line then
    line = {out = base .. ':out:' .. name, ready = base .. ':ready:' .. name, fair = base .. ':fair:' .. name}
    line.room = window - redis.call('ZCARD', line.out)
    line.waits = redis.call('EXISTS', line.ready) == 1
    lines[name] = line
  end
  return line
end

-- When a row that waits is looked at again, as it stands in the schedule.
local function look_again(expires) return number(math.min(expires, now + LOOK_AGAIN_MS)) end

-- Give a publisher's next row its turn, as text.
local function turn_of(line, publisher, share)
  if not line.turns then
    line.turns, line.taken = {}, count_of(redis.call('HGET', line.fair, ''))
  end
  local last = line.turns[publisher] or count_of(redis.call('HGET', line.fair, publisher))
  local turn = math.max(last, line.taken) + 1 / share
  line.turns[publisher], line.waits = turn, true
  return string.format('%.17g', turn)
end

-- Put a row where it waits for its turn. The caller enters it in the schedule.
local function wait_in(line, member, publisher, share)
  local turn = turn_of(line, publisher, share)
  redis.call('ZADD', line.ready, turn, member)
  redis.call('HSET', line.fair, publisher, turn)
end

-- Put it before all others that wait.
local function wait_first(line, member)
  redis.call('ZADD', line.ready, count_of(redis.call('HGET', line.fair, '')), member)
  line.waits = true
end

-- Return a publisher and its share as they are kept in a record. Most rows are of the plain publisher, with a share of 1.
local function publisher_of(name, share)
  share = tonumber(share or 1) or 1
  return name or '-', share > 0 and share or 1
end

-- Take a row out of its window, or out of what waits.
local function leave(row, member)
  local name = row.lane .. ':' .. row.priority
  if redis.call('ZREM', base .. ':out:' .. name, member) == 1 then return end
  local ready = base .. ':ready:' .. name
  if redis.call('ZREM', ready, member) == 1 and redis.call('EXISTS', ready) == 0 then
    redis.call('DEL', base .. ':fair:' .. name)
  end
end

-- Free what the window's oldest rows hold without being handed over any more: the previous release claims and ends rows
-- without taking them out. A row that is handed over stands in the schedule with the same time.
local function check_window(lane, line)
  local oldest, members = redis.call('ZRANGE', line.out, 0, ROWS_CHECKED - 1, 'WITHSCORES'), {}
  if #oldest == 0 then return end
  for i = 1, #oldest, 2 do members[#members + 1] = oldest[i] end
  local times, gone = redis.call('ZMSCORE', base .. ':due:' .. lane, unpack(members)), {}
  for i, member in ipairs(members) do
    if not times[i] or tonumber(times[i]) ~= tonumber(oldest[2 * i]) then gone[#gone + 1] = member end
  end
  if #gone > 0 then
    redis.call('ZREM', line.out, unpack(gone))
    line.room = line.room + #gone
  end
end

local function count_open(record, row, step)
  count_lane(row.lane, number(math.floor(row.born / 1000)), step)
  count_field(base .. ':open', row.lane, step)
  return count_record(record, step)
end

-- A digest is a record with one row that closes it (digest_add.lua). Its items are counted by channel, in base:items: what
-- came in, left with a digest that was closed, was taken out, and waits.
local function count_items(channel, word, step)
  if step ~= 0 then count_field(base .. ':items', channel .. '|' .. word, step) end
end

-- A record has ended: what stands beside it goes with it. If it is a digest that nobody has closed (it was cancelled, its
-- deadline has passed, or it cannot be read), then its items are taken out, and the next one of its group opens another.
local function end_digest(id, record, state, kept_s)
  local members = base .. ':members:' .. id
  if state == 'open' then
    local channel, group = string.match(redis.call('HGET', record, 'digest:as') or '', '^(%a+)|(%x+)|')
    redis.call('HSET', record, 'digest', 'dropped')
    if channel then
      local count, pointer = redis.call('ZCARD', members), base .. ':digest:' .. group
      redis.call('ZREM', base .. ':digests:' .. channel, id)
      count_items(channel, 'waiting', -count)
      count_items(channel, 'taken_out', count)
      if redis.call('HGET', pointer, 'id') == id then
        redis.call('PEXPIREAT', pointer, number(count_of(redis.call('HGET', record, 'digest:ends'))))
      end
    end
  end
  for _, key in ipairs({members, base .. ':texts:' .. id, base .. ':left_out:' .. id}) do
    redis.call('EXPIRE', key, kept_s)
  end
end

-- What happened to an incident, in base:timeline:ID: "ms|JSON", one after the other. Nothing there is changed or taken
-- away. Whoever makes one incident happen again and again does not fill the store. True where it is written.
local MOST_ENTRIES = 10000

local function write_timeline(id, text)
  local timeline = base .. ':timeline:' .. id
  local length = redis.pcall('LLEN', timeline)
  if type(length) == 'number' and length < MOST_ENTRIES then
    redis.call('RPUSH', timeline, number(now) .. '|' .. text)
    return true
  end
end

-- Several entries, one on each line.
local function write_entries(id, texts)
  for text in string.gmatch(texts, '[^\n]+') do write_timeline(id, text) end
end

local function json_text(text) return cjson.encode(text) end

-- Let a record that has ended go when its time is over.
local function expire_record(id, record, retention_s)
  -- Not before its parts, which end at their deadline at the latest.
  local found = redis.call('HMGET', record, 'until', 'digest')
  local kept_s = retention_s + math.ceil(math.max(0, count_of(found[1]) - now) / 1000)
  redis.call('EXPIRE', record, kept_s)
  for _, beside in ipairs({':timeline:', ':alerts:', ':alerts_said:'}) do redis.call('EXPIRE', base .. beside .. id, kept_s) end
  if found[2] then end_digest(id, record, found[2], kept_s) end
end

-- Read fields of a record; nil when it is no hash.
local function read_fields(record, ...)
  local found = redis.pcall('HMGET', record, ...)
  if found.err then
    return nil
  end
  return found
end

-- Rows of a record beyond so many fields are not looked at in one call, which would hold the store for long.
local LARGE = 2000

-- Return the rows of a record that can be read as {key = row}, or nil when it is large.
local function rows_of(record)
  if redis.call('HLEN', record) > LARGE then
    return nil
  end
  local rows = {}
  local fields = redis.call('HGETALL', record)
  for i = 1, #fields, 2 do
    local key = string.match(fields[i], '^s:(.*)$')
    if key then
      rows[key] = read_row(fields[i + 1])
    end
  end
  return rows
end

local function is_open(row) return row.state == 'p' or row.state == 's' end

-- Write that a lease has lapsed into the history of its attempt.
local function note_lapse(record, key, row, kept)
  redis.call('HSET', record, 'a:' .. key .. ':' .. number(row.attempts % kept),
    table.concat({number(row.due), '', 'unknown', 'lease_lapsed', ''}, '|'))
end

-- Let a pending row be due at a time. Whoever performs it goes by the time that stands in its text.
local function set_due(id, record, key, row, due)
  row.due = due
  write_row(record, key, row)
  -- Within a text of JSON these characters do not occur.
  local spec = redis.call('HGET', record, 'd:' .. key) or ''
  redis.call('HSET', record, 'd:' .. key, (string.gsub(spec, '"due_ms":%d+', '"due_ms":' .. number(due), 1)))
  -- A sweep that looked ahead may have handed it over already.
  redis.call('ZREM', base .. ':out:' .. row.lane .. ':' .. row.priority, id .. '|' .. key)
  redis.call('ZADD', base .. ':due:' .. row.lane, due, id .. '|' .. key)
end

-- The row that tells the next level of an alert, as a delivery of the level before names it.
local function next_level_of(record, key)
  return string.match(redis.call('HGET', record, 'd:' .. key) or '', '"next_level":"([^"]*)"')
end

-- What was taken from us and then could not be delivered after all has ended badly, too. So has what waits because it was
-- refused, and nobody knows yet whose fault that is, or because its providers are paused by hand.
local function has_failed(record, key, row)
  if row.state == 'd' then return string.match(redis.call('HGET', record, 'k:' .. key) or '', '^failed|') ~= nil end
  if row.state == 'p' and row.reason == 'paused' then return true end
  return not is_open(row) or redis.call('HEXISTS', record, 'r:' .. key) == 1
end

-- A delivery of an alert has ended badly. If all deliveries of its level have, the next level is told now. An inbox wakes
-- nobody, so it does not count.
local function escalate_on_evidence(id, record, key)
  local next_key = next_level_of(record, key)
  local rows = next_key and rows_of(record)
  local following = rows and rows[next_key]
  if not following or following.state ~= 'p' or following.due <= now then return end
  for other, row in pairs(rows) do
    if row.lane ~= 'router' and row.lane ~= 'realtime' and next_level_of(record, other) == next_key
      and not has_failed(record, other, row) then
      return
    end
  end
  local level = string.match(next_key, '^escalate:(.*)$') or next_key
  write_timeline(id, '{"what":"escalates","reason":"evidence","level":' .. json_text(level) .. '}')
  set_due(id, record, next_key, following, now)
end

-- Reasons of rows that end because somebody has answered, or nobody is to be told any more: no evidence of a failure.
local ANSWERED = {acknowledged = true, resolved = true, cancelled = true, reassigned = true, seen = true}

local function tell_end(id, record, key, row, state, reason)
  local text = '{"what":' .. json_text(STATE_WORDS[state]) .. ',"key":' .. json_text(key)
  if reason ~= '' then text = text .. ',"reason":' .. json_text(reason) end
  write_timeline(id, text .. '}')
  -- What was in doubt may be known to have come to nothing before it ends as taken.
  if row.lane ~= 'realtime' and not ANSWERED[reason] and has_failed(record, key, row) then
    escalate_on_evidence(id, record, key)
  end
end

-- End a row once; the caller has made sure that it is open.
local function end_row(id, record, key, row, state, reason, retention_s)
  -- What is in somebody's hands is neither in a window nor waits.
  if row.state == 'p' or row.due <= now then
    leave(row, id .. '|' .. key)
  end
  row.state, row.reason, row.due = state, reason, now
  write_row(record, key, row)
  redis.call('ZREM', base .. ':due:' .. row.lane, id .. '|' .. key)
  tally(row, STATE_WORDS[state], 1)
  if state == 'l' then
    redis.call('ZADD', base .. ':dead', now, row.lane .. '|' .. id .. '|' .. key)
  end
  if row.lane ~= 'router' and redis.call('HEXISTS', record, 'turn') == 1 and not string.find(key, '#', 1, true) then
    tell_end(id, record, key, row, state, reason)
  end
  if count_open(record, row, -1) <= 0 then
    expire_record(id, record, retention_s)
  end
end

-- Return when a row that cannot be read first became due, if the accounts know of it: they must say that it is over. It
-- stands in its status, in its plan, or it is the moment of acceptance, which the id carries, too; what was written
-- later is in one of the next minutes.
local LATER_MINUTES = 10

local function born_of(lane, id, text, spec, at)
  local guesses, ages = {}, base .. ':age:' .. lane
  local function add(guess)
    if guess and guess > 0 and guess <= LATEST_MS then guesses[#guesses + 1] = guess end
  end
  add(tonumber(string.match(text or '', '^[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|(%d+)|')))
  add(tonumber(spec.due_ms))
  add(tonumber(at))
  add(tonumber((string.gsub(string.sub(id, 1, 13), '-', '')), 16))
  local function is_known(minute)
    return redis.call('SISMEMBER', base .. ':born:' .. number(minute), id) == 1
  end
  for _, guess in ipairs(guesses) do
    if is_known(math.floor(guess / 60000)) and redis.call('HEXISTS', ages, number(math.floor(guess / 1000))) == 1 then
      return guess
    end
  end
  for _, guess in ipairs(guesses) do
    local first = math.floor(guess / 60000)
    for minute = first, first + LATER_MINUTES do
      for second = minute * 60, is_known(minute) and minute * 60 + 59 or 0 do
        if redis.call('HEXISTS', ages, number(second)) == 1 then return second * 1000 end
      end
    end
  end
  return nil
end

-- Put away an entry of the schedule whose row cannot be read, or is gone: it leaves the schedule and stands among the dead
-- letters, so that it keeps nothing else from going on, with a status that can be read. What stood there is kept: a
-- status as q:KEY, and something that is no record as base:unreadable:ID.
local function quarantine(lane, id, key, retention_s)
  redis.call('ZREM', base .. ':due:' .. lane, id .. '|' .. key)
  -- Its status may not say which priority it had.
  for priority in pairs(PRIORITIES) do leave({lane = lane, priority = priority}, id .. '|' .. key) end
  redis.call('ZADD', base .. ':dead', now, lane .. '|' .. id .. '|' .. key)
  if not string.match(id, '^%x+%-%x+%-%x+%-%x+%-%x+$') then
    return
  end
  local record = record_key(id)
  local found = read_fields(record, 's:' .. key, 'd:' .. key, 'at')
  if not found then
    redis.call('RENAME', record, base .. ':unreadable:' .. id)
    redis.call('EXPIRE', base .. ':unreadable:' .. id, retention_s)
    found = {}
  end
  local is_json, spec = pcall(cjson.decode, found[2] or '')
  spec = is_json and type(spec) == 'table' and spec or {}
  local row, is_counted = read_row(found[1]), true
  if not row or row.lane ~= lane then
    local born = born_of(lane, id, found[1], spec, found[3])
    is_counted = born ~= nil
    row = {
      priority = PRIORITIES[spec.priority or ''] and spec.priority or 'normal', token = 0, attempts = 0,
      born = born or now, expires = math.min(tonumber(spec.expires_ms) or now, LATEST_MS),
    }
  end
  row.state, row.lane, row.due, row.redrives, row.reason = 'l', lane, now, 0, 'unreadable'
  redis.call('HSET', record, 'q:' .. key, string.sub(found[1] or '', 1, 200))
  write_row(record, key, row)
  local left
  if is_counted then
    tally(row, STATE_WORDS.l, 1)
    left = count_open(record, row, -1)
  else
    left = count_record(record, 0)
  end
  if left <= 0 then
    expire_record(id, record, retention_s)
  end
end

-- The end of the key of a row that takes back what another one has delivered; see recall.lua.
local RECALL = '#recall'

-- So are those that say what has become of an alert, in the place of what was delivered: they follow its answer.
local FOLLOWS = '#answered'

local function recalls(key)
  return string.sub(key, -#RECALL) == RECALL or string.find(key, FOLLOWS, 1, true) ~= nil
end

-- Why an open row is not wanted any more: 'cancelled', what became of its alert, or nil. The router's own rows look at
-- the alert themselves. What takes something back is wanted because of that.
local function called_off(key, row, cancelled, alert)
  -- Nobody has it any more.
  if string.find(key, FOLLOWS, 1, true) and alert == 'open' then
    return 'cancelled'
  end
  if recalls(key) then
    return nil
  end
  if cancelled then
    return 'cancelled'
  end
  if row.lane ~= 'router' and (alert == 'acknowledged' or alert == 'resolved') then
    return alert
  end
  return nil
end

-- Alerts that are told together are members of one incident. base:alerts:ID holds "state|first|last|count|number|id" of each by its
-- key, base:alerts_said:ID what it says; the incident counts those that are open.
local MOST_MEMBERS = 10000

local function read_member(group, key)
  local state, first, last, count, place, id =
    string.match(redis.call('HGET', base .. ':alerts:' .. group, key) or '', '^(%l+)|(%d+)|(%d+)|(%d+)|(%d+)|(.*)$')
  return state and {
    state = state, first = tonumber(first), last = tonumber(last), count = tonumber(count), place = tonumber(place), id = id,
  }
end

local function write_member(group, key, member)
  redis.call('HSET', base .. ':alerts:' .. group, key, table.concat({
    member.state, number(member.first), number(member.last), number(member.count), number(member.place), member.id,
  }, '|'))
end

-- Add a member, or one that is open again. One that is too many is only counted.
local function add_member(group, key, id, said)
  local is_known = redis.call('HEXISTS', base .. ':alerts:' .. group, key) == 1
  if not is_known and redis.call('HLEN', base .. ':alerts:' .. group) >= MOST_MEMBERS then
    redis.call('HINCRBY', record_key(group), 'members_left_out', 1)
    return
  end
  -- Which of them are new goes by their number: the clocks of a router and of the store differ.
  local place = redis.call('HINCRBY', record_key(group), 'members_added', 1)
  write_member(group, key, {state = 'open', first = now, last = now, count = 1, place = place, id = id})
  redis.call('HSET', base .. ':alerts_said:' .. group, key, said)
  redis.call('HINCRBY', record_key(group), 'members_open', 1)
end

-- The same alert again: whoever sends it says that it is still so.
local function refresh_member(group, key)
  local member = read_member(group, key)
  if not member or member.state ~= 'open' then return nil end
  member.last, member.count = now, member.count + 1
  write_member(group, key, member)
  redis.call('HINCRBY', record_key(group), 'repeats', 1)
  redis.call('HSET', record_key(group), 'repeated_at', number(now))
  return member
end

-- What a publisher has ended may begin again under the same idempotency key.
local function forget_known(id)
  local known_by = redis.call('HGET', record_key(id), 'known')
  if known_by then redis.call('DEL', base .. ':' .. known_by) end
end

-- Write that a member is over. Returns how many are open still.
local function close_member(group, key, entry)
  local member = read_member(group, key)
  if member and member.state == 'open' then
    member.state, member.last = 'resolved', now
    write_member(group, key, member)
    if member.id ~= group then redis.call('HSET', record_key(member.id), 'alert', 'resolved', 'resolved_at', number(now)) end
    write_timeline(group, string.sub(entry, 1, -2) .. ',"member":' .. json_text(member.id) .. '}')
    return redis.call('HINCRBY', record_key(group), 'members_open', -1)
  end
  return count_of(redis.call('HGET', record_key(group), 'members_open'))
end

-- Tell of an incident that is over, or not, in the index of those that are open.
local function list_incident(id) redis.call('ZADD', base .. ':incidents', now, id) end
-- Of those that are over, the newest stay listed.
local MOST_OVER = 250
-- Its key goes on leading to it for as long as an idempotency key stands: the publisher's own end of it may come after a
-- person's, and lets the same alert begin again.
local CLOSED_KEY_S = 86400
local function close_incident(id, retention_s)
  redis.call('ZREM', base .. ':incidents', id)
  local over = base .. ':over'
  redis.call('ZADD', over, now, id)
  redis.call('ZREMRANGEBYRANK', over, 0, -MOST_OVER - 1)
  redis.call('EXPIRE', over, retention_s)
  local key = redis.call('HGET', record_key(id), 'dedup')
  if key and redis.call('GET', base .. ':alert:' .. key) == id then
    redis.call('EXPIRE', base .. ':alert:' .. key, CLOSED_KEY_S)
  end
end

-- Add one task of the router to a record, beside what a caller's arguments add.
local function add_task(id, record, key, due, expires, spec)
  local born = math.max(due, now)
  local row = {
    state = 'p', lane = 'router', priority = 'critical', token = 0, attempts = 0, redrives = 0, due = born, born = born,
    expires = expires, reason = '',
  }
  write_row(record, key, row)
  redis.call('HSET', record, 'd:' .. key, spec)
  redis.call('ZADD', base .. ':due:router', born, id .. '|' .. key)
  redis.call('SADD', base .. ':born:' .. number(math.floor(born / 60000)), id)
  tally(row, 'created', 1)
  count_open(record, row, 1)
  redis.call('PERSIST', record)
  for _, beside in ipairs({':timeline:', ':alerts:', ':alerts_said:'}) do redis.call('PERSIST', base .. beside .. id) end
end

-- Read what rows refer to, which stands in ARGV before them: how many arguments it is, then names and values. Returns the
-- names and values, and where the rows begin.
local function read_needs(at)
  local fields, after = {}, at + 1 + tonumber(ARGV[at])
  for i = at + 1, after - 1 do fields[#fields + 1] = ARGV[i] end
  return fields, after
end

-- The index of what was said to whom. base:told:DAY:PART holds for each name its newest records, with all names of a day that
-- fall into one of its parts; shared/ledger/told.py writes the names, and reads them. It goes when the day's records have
-- gone: what is tried until the end of the next day and then kept. What is tried for longer keeps the part for longer, up to
-- a week. Whatever is wrong with it must not keep a notification from being accepted.
local DAY_MS = 86400000
local PLACE_BYTES, NAME_BYTES, TOLD_MOST = 14, 8, 64
local TOLD_LONGEST_DAYS = 7

local function note_told(names, last_ms, retention_s)
  local place, day = string.sub(names, 1, PLACE_BYTES), math.floor(now / DAY_MS)
  local last_day = math.min(math.floor(last_ms / DAY_MS), day + TOLD_LONGEST_DAYS)
  local outlasts = last_day > day + 1
  local ends = (math.max(last_day, day + 1) + 1) * DAY_MS + retention_s * 1000
  for at = PLACE_BYTES + 1, #names, NAME_BYTES do
    local high, low = string.byte(names, at, at + 1)
    local key = base .. ':told:' .. number(day) .. ':' .. number(high * 256 + low)
    local name = string.sub(names, at + 2, at + NAME_BYTES - 1)
    local is_new = redis.pcall('HSETNX', key, name, place)
    if is_new == 1 and redis.pcall('HLEN', key) == 1 then
      redis.pcall('PEXPIREAT', key, number(ends))
    elseif outlasts then
      local left = redis.pcall('PTTL', key)
      if type(left) == 'number' and left < ends - now then redis.pcall('PEXPIREAT', key, number(ends)) end
    end
    local before = is_new == 0 and redis.pcall('HGET', key, name)
    if type(before) == 'string' and not string.find(before, place, 1, true) then
      redis.pcall('HSET', key, name, string.sub(before .. place, -TOLD_MOST * PLACE_BYTES))
    end
  end
end

-- Rows stand in ARGV from index `at` to `upto`, nine arguments each. Those whose key is not `wanted` are left out, so that
-- a repeated call adds nothing twice. What many rows have in common is counted first and written once. `fields` are
-- written to the record together with theirs. What is due now is handed over where `publisher` (its name, its share and the
-- size of the windows) finds room, and waits otherwise. Returns how many rows were opened, and until when the last of them
-- is looked after; adds to `waiting` the numbers of those that wait, counted on from `before`.
local ROW_ARGS = 9

-- Redis's Lua refuses to unpack a few thousand values at once.
local MOST_ARGS = 1000

local function every() return true end

local function add_rows(id, record, at, upto, wanted, fields, publisher, waiting, before)
  local opened, last_ms, tallies, ages, schedules, handed, lined_up = 0, 0, {}, {}, {}, {}, {}
  local function bump(counts, key, field)
    local of_key = counts[key]
    if not of_key then
      of_key = {}
      counts[key] = of_key
    end
    of_key[field] = (of_key[field] or 0) + 1
  end
  local function enter(sets, key, score, member)
    local of_key = sets[key]
    if not of_key then
      of_key = {}
      sets[key] = of_key
    end
    local used = #of_key
    of_key[used + 1] = score
    of_key[used + 2] = member
  end
  -- Most rows are due at once, and so what says when is written once.
  local at_once = {number(now), number(math.floor(now / 60000)), number(math.floor(now / 1000))}
  for i = at, upto, ROW_ARGS do
    local lane, key, priority, state, reason, due, expires, grace, spec = unpack(ARGV, i, i + ROW_ARGS - 1)
    if wanted(key) then
      -- A due time of 0 means now.
      local due_ms, born, minute, second = tonumber(due), unpack(at_once)
      local immediate = due_ms <= now
      if not immediate then
        born, minute, second = due, number(math.floor(due_ms / 60000)), number(math.floor(due_ms / 1000))
      end
      local used = #fields
      fields[used + 1] = 's:' .. key
      -- As row_text writes it: nobody has had it yet.
      fields[used + 2] = state .. '|' .. lane .. '|' .. priority .. '|0|0|0|' .. born .. '|' .. born .. '|' .. expires
        .. '|' .. reason
      fields[used + 3] = 'd:' .. key
      fields[used + 4] = spec
      bump(tallies, minute, lane .. '|created')
      if state == 'p' then
        bump(ages, lane, second)
        local member, look_at = id .. '|' .. key, due
        if immediate then
          local line = line_of(lane, priority, publisher.window)
          if line.room > 0 and not line.waits then
            -- The grace of a row that is handed over gives its job time to arrive.
            look_at, line.room = number(now + grace), line.room - 1
            enter(handed, line.out, look_at, member)
          else
            look_at = look_again(expires)
            enter(lined_up, line, turn_of(line, publisher.name, publisher.share), member)
            waiting[#waiting + 1] = before + (i - at) / ROW_ARGS
          end
        end
        enter(schedules, lane, look_at, member)
        opened, last_ms = opened + 1, math.max(last_ms, lane == 'router' and tonumber(born) or tonumber(expires))
      else
        bump(tallies, minute, lane .. '|' .. STATE_WORDS[state])
      end
    end
  end
  local function in_pieces(command, key, values)
    for first = 1, #values, MOST_ARGS do
      redis.call(command, key, unpack(values, first, math.min(first + MOST_ARGS - 1, #values)))
    end
  end
  in_pieces('HSET', record, fields)
  for out, members in pairs(handed) do in_pieces('ZADD', out, members) end
  for line, members in pairs(lined_up) do
    in_pieces('ZADD', line.ready, members)
    redis.call('HSET', line.fair, publisher.name, members[#members - 1])
  end
  for lane, schedule in pairs(schedules) do
    in_pieces('ZADD', base .. ':due:' .. lane, schedule)
    count_field(base .. ':open', lane, #schedule / 2)
  end
  for lane, seconds in pairs(ages) do
    for second, count in pairs(seconds) do count_lane(lane, second, count) end
  end
  for minute, counts in pairs(tallies) do
    redis.call('SADD', base .. ':born:' .. minute, id)
    for field, count in pairs(counts) do add_tally(minute, field, count) end
  end
  return opened, last_ms
end
