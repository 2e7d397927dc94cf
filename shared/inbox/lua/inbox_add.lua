-- Adds an entry to a user's inbox or to the feed; the same id again changes nothing, nor one that was taken back.
-- ARGV: inbox|log, id, value, limit, retention_s, epoch if there is none yet, order or '' for that of writing, 1 to pin it,
--       its tenant or ''
-- Returns: 1 if it is new, epoch, sequence before it (-1 if it is not new), its sequence (0 if it was taken back), unread,
--          version, sessions, order, unread of each tenant (name, count, ...).
local base = KEYS[1]
local log, id, value, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[6]
local limit, retention_s = tonumber(ARGV[4]), tonumber(ARGV[5])
local meta = base .. ':meta'

local before, sequence = -1, redis.call('ZSCORE', base .. ':' .. log, id)
local order
if sequence then
  order = redis.call('ZSCORE', base .. ':order', id) or sequence
elseif redis.call('ZSCORE', base .. ':recalled', id) then
  sequence, order = 0, 0
else
  local has_snoozed = settle(base, log)
  local known = redis.call('HMGET', meta, 'epoch', 'seq', 'version')
  before = tonumber(known[2] or '0')
  sequence = math.max(before + 1, now_us())
  order = free_order(base, tonumber(ARGV[7]) or sequence)
  if not known[1] then
    redis.call('HSET', meta, 'epoch', epoch)
  end
  redis.call('HSET', meta, 'seq', text(sequence), 'ordered', text(sequence), 'version', text(tonumber(known[3] or '0') + 1))
  redis.call('ZADD', base .. ':' .. log, text(sequence), id)
  redis.call('ZADD', base .. ':order', text(order), id)
  redis.call('HSET', base .. ':entries', id, value)
  if log == 'inbox' then
    note_tenant(base, id, ARGV[9])
  end
  if ARGV[8] == '1' and redis.call('SCARD', base .. ':pinned') < PINNED_MOST then
    redis.call('SADD', base .. ':pinned', id)
  end
  trim(base, log, limit, retention_s, has_snoozed)
  keep(base, retention_s, log, 'pinned', 'order', 'entries', 'meta', 'state', 'feed_state')
  if ARGV[9] and ARGV[9] ~= '' then
    keep(base, retention_s, 'tenants')
  end
end

local known = redis.call('HMGET', meta, 'epoch', 'version', 'tenanted')
local sessions, count, of_tenants = {}, 0, {}
if log == 'inbox' then
  sessions, count = session_records(base), unread(base)
  of_tenants = known[3] and unread_by_tenant(base) or of_tenants
end
return {
  before == -1 and 0 or 1, known[1] or '', text(before), text(tonumber(sequence)), count, known[2] or '0', sessions,
  text(tonumber(order)), of_tenants,
}
