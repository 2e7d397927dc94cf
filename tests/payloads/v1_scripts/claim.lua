-- Take rows for one attempt each. `sending` is written here, before the provider is called, so that an attempt whose
-- worker dies is known to be in doubt.
--
-- ARGV: lease ms, retention s, history entries kept, then pairs of notification id and row key.
-- Answer, per pair: {verdict, token, attempt number, in doubt 0|1, alert state or '', internal errors so far} with the
-- verdict
--   claimed | held (somebody has it) | early (its time has not come) | ended | expired | cancelled (ended just now) |
--   unknown (no such row).

local lease_ms, retention_s, kept = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local answer = {}
for i = 4, #ARGV, 2 do
  local id, key = ARGV[i], ARGV[i + 1]
  local record = record_key(id)
  local found = redis.call('HMGET', record, 's:' .. key, 'cancelled', 'alert', 'e:' .. key)
  local verdict, token, attempt, doubt = 'unknown', 0, 0, 0
  if found[1] then
    local row = read_row(found[1])
    if row.state ~= 'p' and row.state ~= 's' then
      verdict = 'ended'
    elseif row.state == 's' and row.due > now then
      verdict = 'held'
    elseif row.state == 'p' and row.due > now then
      verdict = 'early'
    elseif found[2] then
      verdict = 'cancelled'
      end_row(id, record, key, row, 'x', 'cancelled', retention_s)
    elseif row.expires <= now then
      verdict = 'expired'
      end_row(id, record, key, row, 'e', 'expired', retention_s)
    else
      verdict = 'claimed'
      if row.state == 's' then
        doubt = 1
        redis.call('HSET', record, 'a:' .. key .. ':' .. number(row.attempts % kept),
          table.concat({number(row.due), '', 'unknown', 'lease_lapsed', ''}, '|'))
      elseif row.reason == 'in_doubt' then
        doubt = 1
      end
      row.state, row.token, row.attempts, row.redrives = 's', row.token + 1, row.attempts + 1, 0
      row.due = now + lease_ms
      token, attempt = row.token, row.attempts
      write_row(record, key, row)
      redis.call('ZADD', base .. ':due:' .. row.lane, row.due, id .. '|' .. key)
    end
  end
  answer[#answer + 1] = {verdict, token, attempt, doubt, found[3] or '', found[4] or '0'}
end
return answer
