-- Tell which of a shard's newest open incidents somebody was told about. One that is forgotten leaves the index.
--
-- ARGV: how many are looked at.
-- Answer: their ids, the newest first.

local told = {}
local ids = redis.pcall('ZREVRANGE', base .. ':incidents', 0, tonumber(ARGV[1]) - 1)
for _, id in ipairs(ids.err and {} or ids) do
  local found = read_fields(record_key(id), 'alert', 'cancelled', 'muted', 'waits')
  if found and not found[1] then
    redis.call('ZREM', base .. ':incidents', id)
  elseif found and found[1] ~= 'resolved' and not (found[2] or found[3] or found[4]) then
    told[#told + 1] = id
  end
end
return told
