-- Write a notification, its first rows and its schedule, once.
--
-- ARGV: id, content, fingerprint, idempotency key or '', its window in s, alert dedup key or '', alert state or '',
--       retention s, then rows.
-- Answer: {'accepted', id}, {'duplicate', the first one's id} or {'conflict', the first one's id}.

local id, content, fingerprint, idem, window_s = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local dedup, alert, retention_s = ARGV[6], ARGV[7], tonumber(ARGV[8])
local record = record_key(id)

if redis.call('EXISTS', record) == 1 then
  return {'accepted', id}
end

local idem_key = base .. ':idem:' .. idem
if idem ~= '' then
  local first = redis.call('GET', idem_key)
  if first then
    local first_id, first_print = string.match(first, '^(.-)|(.*)$')
    return {first_print == fingerprint and 'duplicate' or 'conflict', first_id}
  end
end

local dedup_key = base .. ':alert:' .. dedup
if dedup ~= '' then
  local open_id = redis.call('GET', dedup_key)
  if open_id and redis.call('HGET', record_key(open_id), 'alert') ~= 'resolved' then
    return {'duplicate', open_id}
  end
end

if idem ~= '' then
  redis.call('SET', idem_key, id .. '|' .. fingerprint, 'EX', window_s)
end
if dedup ~= '' then
  redis.call('SET', dedup_key, id, 'EX', window_s)
end
local fields = {'c', content, 'at', number(now)}
if alert ~= '' then
  fields[#fields + 1] = 'alert'
  fields[#fields + 1] = alert
end
local opened = add_rows(id, record, 9, true, fields)
redis.call('HSET', record, 'open', opened)
if opened == 0 then
  redis.call('EXPIRE', record, retention_s)
end
return {'accepted', id}
