-- Reopen a dead letter, once: it becomes pending and due at once, and the next sweep drives it. Its minute keeps its
-- account: one dead letter less, one open row more.
--
-- ARGV: lane, id, key, deadline ms (the row keeps a later one; 0 keeps any), spec ('' keeps it), dry run 0|1.
-- Answer: reopened | already (it lives again, or is not on the list any more) | record_expired | cancelled | expired |
--         acknowledged, resolved (its alert was, so nobody is to be told any more) | unreadable.

local lane, id, key, deadline, spec, dry = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6] == '1'
local list, member, record = base .. ':dead', lane .. '|' .. id .. '|' .. key, record_key(id)

if not redis.call('ZSCORE', list, member) then
  return 'already'
end
local found = read_fields(record, 's:' .. key, 'cancelled', 'alert')
if found and not found[1] then
  return 'record_expired'
end
local row = found and read_row(found[1])
if not row then
  return 'unreadable'
end
if row.state ~= 'l' then
  return 'already'
end
local reason = called_off(key, row, found[2], found[3])
if reason then
  return reason
end
row.expires = math.max(row.expires, deadline)
if row.expires <= now then
  return 'expired'
end
if dry then
  return 'reopened'
end

-- Token and attempts go on counting, so that an old claim stays old and the history stays in order.
row.state, row.reason, row.due, row.redrives = 'p', '', now, 0
write_row(record, key, row)
-- What a provider said of earlier attempts says nothing of the next ones.
redis.call('HDEL', record, 'e:' .. key, 'k:' .. key, 'w:' .. key, 'q:' .. key, 'r:' .. key)
if spec ~= '' then
  redis.call('HSET', record, 'd:' .. key, spec)
end
redis.call('ZREM', list, member)
redis.call('ZADD', base .. ':due:' .. lane, now, id .. '|' .. key)
tally(row, 'dead_lettered', -1)
count_open(record, row, 1)
redis.call('PERSIST', record)
redis.call('PERSIST', base .. ':timeline:' .. id)
return 'reopened'
