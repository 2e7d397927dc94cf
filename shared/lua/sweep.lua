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
-- A row that is taken so often unclaimed is looked at more closely: nobody claims it where its texts are no JSON, or
-- speak of another row.
local SUSPICIOUS = 2
local schedule = base .. ':due:' .. lane
local due_rows, ended = {}, {}

local function says(text, name, value)
  local is_json, read = pcall(cjson.decode, text or '')
  return is_json and type(read) == 'table' and read[name] == value
end

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

local found_due = redis.call('ZRANGEBYSCORE', schedule, '-inf', now + ahead, 'WITHSCORES', 'LIMIT', 0, most)
for i = 1, #found_due, 2 do
  if bytes >= most_bytes then break end
  local member, due = found_due[i], math.max(now, tonumber(found_due[i + 1]))
  local id, key = string.match(member, '^(.-)|(.*)$')
  if not id then
    redis.call('ZREM', schedule, member)
    redis.call('ZADD', base .. ':dead', now, lane .. '||' .. member)
    ended[#ended + 1] = {'', member, 'l', 'unreadable', '', ''}
  else
    local record = record_key(id)
    local found = read_fields(record, 's:' .. key, 'c', 'd:' .. key, 'cancelled', 'alert')
    local row = found and read_row(found[1])
    bytes = bytes + (found and #(found[2] or '') + #(found[3] or '') or 0)
    local suspicious = row and row.redrives >= SUSPICIOUS and not (says(found[2], 'id', id) and says(found[3], 'key', key))
    if not row or row.lane ~= lane or not found[2] or not found[3] or suspicious then
      if quarantine(lane, id, key) then
        ended[#ended + 1] = {id, key, 'l', 'unreadable', found and found[2] or '', found and found[3] or ''}
      end
    elseif not is_open(row) then
      redis.call('ZREM', schedule, member)
    else
      local state, reason = end_of(row, found)
      if state then
        end_row(id, record, key, row, state, reason, retention_s)
        ended[#ended + 1] = {id, key, state, reason, found[2], found[3]}
      else
        -- Not long beyond the deadline, so that it ends in time where nobody works.
        local next_look = due + grace[row.priority] * 2 ^ math.min(row.redrives, LONGEST_DOUBLING)
        next_look = math.min(next_look, math.max(row.expires, due + grace[row.priority]))
        redis.call('ZADD', schedule, next_look, member)
        if not probe then
          row.redrives = row.redrives + 1
          write_row(record, key, row)
        end
        due_rows[#due_rows + 1] = {id, key, row.priority, found[2], found[3], due - now}
      end
    end
  end
end
return {due_rows, ended}
