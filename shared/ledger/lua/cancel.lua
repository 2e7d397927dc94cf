-- End what has not left yet. Rows in a worker's hands are left to their outcome; rows beyond the first LARGE fields end
-- when somebody claims them, because the mark is looked at there.
--
-- ARGV: id, retention s.
-- Answer: {'unknown'} or {content, rows still open, then pairs of lane and spec of the rows that ended now}.

local id, retention_s = ARGV[1], tonumber(ARGV[2])
local record = record_key(id)
if redis.call('TYPE', record).ok ~= 'hash' then
  return {'unknown'}
end
redis.call('HSETNX', record, 'cancelled', number(now))
local ended = {}
for key, row in pairs(rows_of(record) or {}) do
  if row.state == 'p' then
    end_row(id, record, key, row, 'x', 'cancelled', retention_s)
    ended[#ended + 1] = row.lane
    ended[#ended + 1] = redis.call('HGET', record, 'd:' .. key) or ''
  end
end
local answer = {redis.call('HGET', record, 'c') or '', tonumber(redis.call('HGET', record, 'open') or 0)}
for _, text in ipairs(ended) do answer[#answer + 1] = text end
return answer
