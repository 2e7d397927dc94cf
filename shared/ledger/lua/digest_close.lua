-- Close a digest whose time has come: from then on its group opens another. A repeated call gives the same answer.
--
-- ARGV: id, most items named in the answer.
-- Answer: {'open', when it ends in ms} while its time has not come; {'closed', how many items, time of the first and of
--         the last in ms, the first "ID|KEY" by their time, the newest texts in the order in which they came};
--         {'unknown'} if it is no digest.

local id, most = ARGV[1], tonumber(ARGV[2])
local record, members = record_key(id), base .. ':members:' .. id
local found = read_fields(record, 'digest', 'digest:ends', 'digest:as')
local channel, group = string.match(found and found[3] or '', '^(%a+)|(%x+)|')
if not channel then
  return {'unknown'}
end
local state, ends = found[1], count_of(found[2])
if state == 'open' and now < ends then
  return {'open', ends}
end
local count = redis.call('ZCARD', members)
if state ~= 'closed' then
  redis.call('HSET', record, 'digest', 'closed')
  -- A digest that ended without being closed is closed after all when somebody has brought its row back (replay.lua).
  count_items(channel, state == 'open' and 'waiting' or 'taken_out', -count)
  count_items(channel, 'out', count)
  redis.call('ZREM', base .. ':digests:' .. channel, id)
  local pointer = base .. ':digest:' .. group
  if state == 'open' and redis.call('HGET', pointer, 'id') == id then
    redis.call('DEL', pointer)
  end
end
local scored, named = redis.call('ZRANGE', members, 0, most - 1, 'WITHSCORES'), {}
for i = 1, #scored, 2 do named[#named + 1] = scored[i] end
local last = count > most and redis.call('ZRANGE', members, -1, -1, 'WITHSCORES')[2] or scored[#scored]
return {
  'closed', count, tonumber(scored[2] or 0), tonumber(last or 0), named, redis.call('LRANGE', base .. ':texts:' .. id, 0, -1),
}
