-- Reads the own entries that stay on top, the newest first: alerts that wait for an answer, as far as anybody has said.
-- Returns: own entries as inbox_read has them.
local base = KEYS[1]
local entries, orders = {}, {}
for _, id in ipairs(redis.call('SMEMBERS', base .. ':pinned')) do
  local order = redis.call('ZSCORE', base .. ':order', id)
  if order then
    orders[#orders + 1] = { tonumber(order), id }
  else
    redis.call('SREM', base .. ':pinned', id)
  end
end
table.sort(orders, function(one, other) return one[1] > other[1] end)
for _, found in ipairs(orders) do
  add_entry(entries, base, found[2], redis.call('ZSCORE', base .. ':inbox', found[2]), found[1])
end
return entries
