-- Take what is due or whose lease has lapsed, or will be shortly, so that it is published when its time has come. Each
-- row taken is looked at next after a grace that doubles with every time it is taken unclaimed: a backlog is not
-- multiplied by its own re-drives. A lane whose jobs nobody takes has no backlog at the broker, and is only probed; then
-- the grace stays as it is, so that nothing has to wait long once somebody is there.
--
-- What nobody wants any more, what has passed its deadline and what cannot be read ends here, whether or not somebody
-- works on that lane.
--
-- ARGV: lane, most rows, ms to look ahead, probe 0|1, retention s, grace ms per priority (low, normal, high, critical),
--       most bytes of texts: what is beyond them stays due.
-- Answer: {due, ended}. due is a list of {id, key, priority, content, spec, ms until it is due}; ended a list of
--         {id, key, state, reason, content or '', spec or ''}.

local lane, most, ahead, probe = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local retention_s = tonumber(ARGV[5])
local grace = {low = tonumber(ARGV[6]), normal = tonumber(ARGV[7]), high = tonumber(ARGV[8]), critical = tonumber(ARGV[9])}
local most_bytes, bytes = tonumber(ARGV[10]), 0
local LONGEST_DOUBLING = 6
-- What is looked at of a lane that is only probed.
local LOOKED_AT, LOOKED_AT_EVERY_MS = 100, 200
local schedule = base .. ':due:' .. lane
local due_rows, ended = {}, {}

-- Why an open row ends now: its state and reason, or nothing.
local function end_of(row, found)
  local reason = called_off(row, found[4], found[5])
  local in_hand = row.state == 's' and row.due > now
  if in_hand then
    return nil
  elseif reason then
    return 'x', reason
  elseif row.expires <= now then
    return 'e', 'expired'
  end
end

-- Look at an entry and end what is to be ended; return the row and its parts where it goes on.
local function look_at(member)
  local id, key = string.match(member, '^(.-)|(.*)$')
  if not id then
    redis.call('ZREM', schedule, member)
    redis.call('ZADD', base .. ':dead', now, lane .. '||' .. member)
    ended[#ended + 1] = {'', member, 'l', 'unreadable', '', ''}
    return nil
  end
  local record = record_key(id)
  local found = read_fields(record, 's:' .. key, 'c', 'd:' .. key, 'cancelled', 'alert')
  local row = found and read_row(found[1])
  if row and (not is_open(row) or row.lane ~= lane and redis.call('ZSCORE', base .. ':due:' .. row.lane, member)) then
    -- Another lane's, or nobody's.
    redis.call('ZREM', schedule, member)
    return nil
  end
  if not row or row.lane ~= lane or not found[2] or not found[3] then
    quarantine(lane, id, key, retention_s)
    ended[#ended + 1] = {id, key, 'l', 'unreadable', found and found[2] or '', found and found[3] or ''}
    return nil
  end
  local state, reason = end_of(row, found)
  if state then
    end_row(id, record, key, row, state, reason, retention_s)
    ended[#ended + 1] = {id, key, state, reason, found[2], found[3]}
    bytes = bytes + #found[2] + #found[3]
    return nil
  end
  return row, id, key, found
end

local found_due = redis.call('ZRANGEBYSCORE', schedule, '-inf', now + ahead, 'WITHSCORES', 'LIMIT', 0, most)
for i = 1, #found_due, 2 do
  if bytes >= most_bytes then break end
  local member, due = found_due[i], math.max(now, tonumber(found_due[i + 1]))
  local row, id, key, found = look_at(member)
  if row then
    -- Not long beyond the deadline, so that it ends in time where nobody works.
    local next_look = due + grace[row.priority] * 2 ^ math.min(row.redrives, LONGEST_DOUBLING)
    next_look = math.min(next_look, math.max(row.expires, due + grace[row.priority]))
    redis.call('ZADD', schedule, next_look, member)
    if not probe then
      row.redrives = row.redrives + 1
      write_row(record_key(id), key, row)
    end
    bytes = bytes + #found[2] + #found[3]
    due_rows[#due_rows + 1] = {id, key, row.priority, found[2], found[3], due - now}
  end
end

-- Where few are taken, the others wait behind them, past their deadlines as well. A page of them is looked at, each time
-- another one.
if probe then
  local pages = math.ceil(redis.call('ZCOUNT', schedule, '-inf', now) / LOOKED_AT)
  if pages > 0 then
    local first = math.floor(now / LOOKED_AT_EVERY_MS) % pages * LOOKED_AT
    for _, member in ipairs(redis.call('ZRANGE', schedule, first, first + LOOKED_AT - 1)) do
      if bytes >= most_bytes then break end
      look_at(member)
    end
  end
end
return {due_rows, ended}
