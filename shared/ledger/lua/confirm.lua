-- Write down what a provider later says of a delivery that it has taken: k:KEY holds outcome, code, provider id and time,
-- joined by "|". Outcomes only rise (taken, sent, failed, delivered, complained), so callbacks may come in any order and
-- again. b:KEY holds all of them, a line each, in the order in which they came. It ends nothing: a delivery that waits in
-- doubt becomes due at once, and whoever claims it finds that it was taken.
--
-- ARGV: id, key, outcome, code or '', provider id, how many are kept of one delivery.
-- Answer: {'unknown'} (no such row), or {'news' | 'again', the notification's content, the row's spec}.

local id, key, outcome, code, provider_id = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local RANKS = {taken = 1, sent = 2, failed = 3, delivered = 4, complained = 5}
local kept = tonumber(ARGV[6])
local record = record_key(id)

local found = read_fields(record, 's:' .. key, 'k:' .. key, 'c', 'd:' .. key, 'b:' .. key)
if not found or not found[1] then
  return {'unknown'}
end
local said = table.concat({outcome, code, provider_id, ''}, '|')
local all, count = found[5] or '', select(2, string.gsub(found[5] or '', '\n', '\n'))
if count < kept and not string.find('\n' .. all, '\n' .. said, 1, true) then
  redis.call('HSET', record, 'b:' .. key, all .. said .. number(now) .. '\n')
end
local before = found[2] and string.match(found[2], '^(%a+)|')
if before and (RANKS[before] or 0) >= RANKS[outcome] then
  return {'again', found[3] or '', found[4] or ''}
end
redis.call('HSET', record, 'k:' .. key, said .. number(now))
local row = read_row(found[1])
if row and redis.call('HEXISTS', record, 'turn') == 1 and RANKS[outcome] >= RANKS.failed then
  local reason = code ~= '' and ',"reason":' .. json_text(code) or ''
  local what = outcome == 'failed' and 'failed' or 'confirmed'
  write_timeline(id, '{"what":"' .. what .. '","key":' .. json_text(key) .. reason .. '}')
  if outcome == 'failed' and row.lane ~= 'realtime' then escalate_on_evidence(id, record, key) end
end
if row and row.state == 'p' and row.reason == 'in_doubt' then
  row.due = math.min(row.due, now)
  write_row(record, key, row)
  redis.call('ZADD', base .. ':due:' .. row.lane, row.due, id .. '|' .. key)
end
return {'news', found[3] or '', found[4] or ''}
