-- Put the result of an audit before those that are kept, and let the oldest go.
--
-- KEYS[1]: the audit's base key. ARGV: the result, how many are kept, for how many seconds.
-- Answer: the newest of the routers' own results before this one; '' where there is none.

local results = KEYS[1] .. ':results'
local most, before = tonumber(ARGV[2]), ''
for _, text in ipairs(redis.call('LRANGE', results, 0, most - 1)) do
  local ok, result = pcall(cjson.decode, text)
  if ok and type(result) == 'table' and result.by == 'router' then
    before = text
    break
  end
end
redis.call('LPUSH', results, ARGV[1])
redis.call('LTRIM', results, 0, most - 1)
redis.call('EXPIRE', results, ARGV[3])
return before
