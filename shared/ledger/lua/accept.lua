-- Write a notification, its first rows and its schedule, once.
--
-- ARGV: id, content, fingerprint, what it is known by (idem:KEY, packet:KEY or ''), for how long in s, 1 when it may be
--       known already, alert dedup key or '', its window in s, alert state or '', retention s, publisher, its share, rows
--       handed over at most per lane and priority, 1 when it is an incident, lines of its timeline or '', under which of its
--       publisher's ids it is found, and under whose names (note_told), how many arguments its member's are, then its key,
--       what it says and its row; what rows refer to, then rows.
-- Answer: {'accepted', id, numbers of the rows that are due and wait, counted from 0 ...}, {'duplicate', the first one's
--         id} or {'conflict', the first one's id}. An answer to a call that was made before names none.

local id, content, fingerprint, known_by, window_s = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local may_be_known, dedup, dedup_s, alert, retention_s = ARGV[6] == '1', ARGV[7], ARGV[8], ARGV[9], tonumber(ARGV[10])
local record = record_key(id)
local publisher = {window = tonumber(ARGV[13])}
publisher.name, publisher.share = publisher_of(ARGV[11], ARGV[12])
local is_incident, entries = ARGV[14] == '1', ARGV[15]
local own_names, told_names = ARGV[16], ARGV[17]
local needs_at = 19 + tonumber(ARGV[18])
local member_key, member_said, member_row = needs_at > 19 and ARGV[19] or '', ARGV[20], 21
local fields, rows_at = read_needs(needs_at)

if redis.call('EXISTS', record) == 1 then
  return {'accepted', id}
end

local known_key = base .. ':' .. known_by
if may_be_known then
  local first = redis.call('GET', known_key)
  if first then
    local first_id, first_print = string.match(first, '^(.-)|(.*)$')
    if member_key ~= '' then
      refresh_member(redis.call('HGET', record_key(first_id), 'group') or first_id, member_key)
    end
    return {first_print == fingerprint and 'duplicate' or 'conflict', first_id}
  end
end

-- Whether an alert is open and somebody has it or was told, or will be without waiting for an escalation. One that is
-- over, gone or reaches nobody must not keep the next one from telling. What is held for somebody or folded into a digest
-- reaches that person. One that is planned for later covers others of that kind. Repetitions come in numbers, so "told" is
-- written down for the next one.
local function covers(open_id, is_for_later)
  local found = read_fields(record_key(open_id), 'alert', 'cancelled', 'told', 'waits')
  if not found or not found[1] or found[1] == 'resolved' or found[2] then
    return false
  end
  -- One that waits will tell.
  if found[1] == 'acknowledged' or found[3] or found[4] then
    return true
  end
  local rows = rows_of(record_key(open_id))
  if not rows then
    return true
  end
  local will_tell = false
  for key, row in pairs(rows) do
    if row.lane == 'router' then
      local is_planned = key == 'plan' and (row.due <= now or is_for_later)
      local waits = string.match(key, '^held:') or string.match(key, '^fold[@:]')
      will_tell = will_tell or ((is_planned or waits) and is_open(row))
    elseif row.state == 'd' then
      redis.call('HSET', record_key(open_id), 'told', 1)
      return true
    else
      will_tell = will_tell or is_open(row) or row.reason == 'digested'
    end
  end
  return will_tell
end

local dedup_key = base .. ':alert:' .. dedup

-- Make it a member of an open incident: a record of its own, with one row that says which.
local function join(group)
  local known = refresh_member(group, member_key)
  if known then
    return {'duplicate', known.id}
  end
  if known_by ~= '' then
    redis.call('SET', known_key, id .. '|' .. fingerprint, 'EX', window_s)
  end
  add_member(group, member_key, id, member_said)
  write_timeline(group, '{"what":"member","member":' .. json_text(id) .. '}')
  ARGV[member_row + 8] = string.gsub(ARGV[member_row + 8], '"@group"', '"' .. group .. '"')
  local member_fields = {'c', content, 'at', number(now), 'alert', 'open', 'group', group, 'member', member_key, 'known', known_by}
  if publisher.name ~= '-' then
    member_fields[#member_fields + 1] = 'publisher'
    member_fields[#member_fields + 1] = publisher.name
  end
  add_rows(id, record, member_row, member_row + ROW_ARGS - 1, every, member_fields, publisher, {}, 0)
  redis.call('HSET', record, 'open', 0)
  redis.call('EXPIRE', record, retention_s)
  note_told(own_names, 0, retention_s)
  return {'grouped', id}
end

if dedup ~= '' then
  local open_id = redis.call('GET', dedup_key)
  if open_id and covers(open_id, ARGV[rows_at + 1] == 'plan') then
    if member_key ~= '' then
      return join(open_id)
    end
    redis.call('HINCRBY', record_key(open_id), 'repeats', 1)
    redis.call('HSET', record_key(open_id), 'repeated_at', number(now))
    return {'duplicate', open_id}
  end
end

if known_by ~= '' then
  redis.call('SET', known_key, id .. '|' .. fingerprint, 'EX', window_s)
end
if dedup ~= '' then
  redis.call('SET', dedup_key, id, 'EX', dedup_s)
end
for _, part in ipairs({'c', content, 'at', number(now)}) do fields[#fields + 1] = part end
if alert ~= '' then
  fields[#fields + 1] = 'alert'
  fields[#fields + 1] = alert
end
-- What is due later is handed over, or waits, by them.
if publisher.name ~= '-' then
  fields[#fields + 1] = 'publisher'
  fields[#fields + 1] = publisher.name
end
if publisher.share ~= 1 then
  fields[#fields + 1] = 'share'
  fields[#fields + 1] = ARGV[12]
end
if member_key ~= '' then
  fields[#fields + 1] = 'known'
  fields[#fields + 1] = known_by
end
if is_incident and dedup ~= '' then
  fields[#fields + 1] = 'dedup'
  fields[#fields + 1] = dedup
end
if is_incident then
  fields[#fields + 1] = 'turn'
  fields[#fields + 1] = '0'
end
local waiting = {}
local opened, last_ms = add_rows(id, record, rows_at, #ARGV, every, fields, publisher, waiting, 0)
redis.call('HSET', record, 'open', opened)
if opened == 0 then
  redis.call('EXPIRE', record, retention_s)
end
if is_incident then list_incident(id) end
if member_key ~= '' then add_member(id, member_key, id, member_said) end
if is_incident and entries ~= '' then write_entries(id, entries) end
note_told(own_names, last_ms, retention_s)
note_told(told_names, last_ms, retention_s)
local answer = {'accepted', id}
for _, row in ipairs(waiting) do answer[#answer + 1] = row end
return answer
