-- Write down which items of a closed digest are not told in it, so that the account of what left with it is right.
--
-- ARGV: id, then "ID|KEY" of items.
-- Answer: how many of them were not left out before.

local id = ARGV[1]
local record, members, left_out = record_key(id), base .. ':members:' .. id, base .. ':left_out:' .. id
local found = read_fields(record, 'digest', 'digest:as')
local channel = string.match(found and found[2] or '', '^(%a+)|')
if not channel or found[1] ~= 'closed' then
  return 0
end
local count = 0
for i = 2, #ARGV do
  if redis.call('ZSCORE', members, ARGV[i]) then
    count = count + redis.call('SADD', left_out, ARGV[i])
  end
end
count_items(channel, 'out', -count)
count_items(channel, 'taken_out', count)
local kept_s = redis.call('TTL', record)
if kept_s >= 0 then
  redis.call('EXPIRE', left_out, kept_s)
end
return count
