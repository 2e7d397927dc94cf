-- Bring forward what waits for another attempt because its provider was away, refused us or was paused by hand. What waits for a time of its
-- own (scheduled, limited or asked to wait by a provider, in doubt) stays as it is.
--
-- ARGV: lane, due time to look from ('' for now), how many rows with exactly this due time have been looked at and stay, ms
--       from now to look to, most rows, how many were brought forward before, ms between two of them,
--       their priority ('' for any), then reasons.
-- Answer: {due time to go on from ('' when there is no more), how many rows with this due time have been looked at and
--         stay, how many have been brought forward by now}

local lane, from, to = ARGV[1], ARGV[2] == '' and number(now + 1) or ARGV[2], number(now + tonumber(ARGV[4]))
local seen, most, moved, step = tonumber(ARGV[3]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local priority, reasons = ARGV[8], {}
for i = 9, #ARGV do reasons[ARGV[i]] = true end
local schedule = base .. ':due:' .. lane
local waiting = redis.call('ZRANGEBYSCORE', schedule, from, to, 'WITHSCORES', 'LIMIT', seen, most)
for i = 1, #waiting, 2 do
  local member = waiting[i]
  if waiting[i + 1] ~= from then
    from, seen = waiting[i + 1], 0
  end
  local id, key = string.match(member, '^(.-)|(.*)$')
  local record = record_key(id or '')
  local found = id and read_fields(record, 's:' .. key)
  local row = found and read_row(found[1])
  local due = now + moved * step
  if row and row.state == 'p' and reasons[row.reason] and (priority == '' or priority == row.priority) and due < row.due then
    row.due = due
    -- Every process of the channel lets go what was paused: each row once.
    if row.reason == 'paused' then row.reason = '' end
    write_row(record, key, row)
    -- A sweep that looked ahead may have handed it over already.
    redis.call('ZREM', base .. ':out:' .. lane .. ':' .. row.priority, member)
    redis.call('ZADD', schedule, due, member)
    moved = moved + 1
  else
    seen = seen + 1
  end
end
return {#waiting == 2 * most and from or '', seen, moved}
