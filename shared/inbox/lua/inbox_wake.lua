-- Lets snoozed entries come back: the one that is named, or all whose time has come. ARGV: id or '', retention_s
-- Returns: 1, or 0 if there is no entry of that name; position, feed states, sessions; for each entry that came back: id,
--          sequence before it, sequence, order, value.
local base = KEYS[1]
local id, retention_s = ARGV[1], ARGV[2]
local back = {}
if id == '' then
  local wake = redis.call('HGET', base .. ':meta', 'wake')
  if wake then
    back = wake_up(base, wake)
  end
elseif redis.call('ZSCORE', base .. ':inbox', id) then
  settle(base, 'inbox')
  back[1] = come_back(base, id, math.floor(now_us() / 1000))
  next_wake(base, retention_s)
  keep(base, retention_s, 'inbox', 'order', 'entries', 'meta', 'state', 'snoozed', 'tenants')
else
  return { 0 }
end
local entries = {}
for _, entry in ipairs(back) do
  entries[#entries + 1] = entry.id
  entries[#entries + 1] = text(entry.before)
  entries[#entries + 1] = text(entry.sequence)
  entries[#entries + 1] = text(entry.order)
  entries[#entries + 1] = redis.call('HGET', base .. ':entries', entry.id) or ''
end
local answer = told(base, #back > 0)
answer[1] = 1
answer[#answer + 1] = entries
return answer
