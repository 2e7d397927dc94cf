-- End what has not left yet. Rows in a worker's hands are left to their outcome; rows beyond the first LARGE fields end
-- when somebody claims them, because the mark is looked at there. Rows that take something back go on.
--
-- ARGV: id, retention s, until when in ms what was delivered may be taken back ('' where it is not).
-- Answer: {'unknown'} or {content, rows still open, the ids of its parts, then pairs of lane and spec of the rows that
-- ended now}. After the mark no part is added any more.

local id, retention_s, recall_until = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local record = record_key(id)
if redis.call('TYPE', record).ok ~= 'hash' then
  return {'unknown'}
end
if redis.call('HSETNX', record, 'cancelled', number(now)) == 1 and redis.call('HEXISTS', record, 'turn') == 1 then
  close_incident(id, retention_s)
  write_timeline(id, '{"what":"cancelled"}')
end
if recall_until and redis.call('HSETNX', record, 'recalled', number(now)) == 1 then
  -- The parts and the list of them are kept as long as what is added to them.
  local last_ms = math.max(recall_until, count_of(redis.call('HGET', record, 'until')))
  local kept_s = retention_s + math.ceil(math.max(0, last_ms - now) / 1000)
  redis.call('HSET', record, 'until', number(last_ms))
  for _, key in ipairs({record, base .. ':parts:' .. id, base .. ':planned:' .. id}) do
    if redis.call('TTL', key) >= 0 then redis.call('EXPIRE', key, kept_s) end
  end
end
local ended = {}
for key, row in pairs(rows_of(record) or {}) do
  if row.state == 'p' and not recalls(key) then
    end_row(id, record, key, row, 'x', 'cancelled', retention_s)
    ended[#ended + 1] = row.lane
    ended[#ended + 1] = redis.call('HGET', record, 'd:' .. key) or ''
  end
end
local answer = {
  redis.call('HGET', record, 'c') or '',
  tonumber(redis.call('HGET', record, 'open') or 0),
  redis.call('LRANGE', base .. ':parts:' .. id, 0, -1),
}
for _, text in ipairs(ended) do answer[#answer + 1] = text end
return answer
