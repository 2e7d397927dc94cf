-- Find the lanes of a shard on which something is due, so that the others need no look of their own.
--
-- ARGV: ms to look ahead, then lanes.
-- Answer: the lanes, in their order.

local until_ms, answer = now + tonumber(ARGV[1]), {}
for i = 2, #ARGV do
  local found = redis.pcall('ZRANGEBYSCORE', base .. ':due:' .. ARGV[i], '-inf', until_ms, 'LIMIT', 0, 1)
  -- What is no schedule is the affair of whoever sweeps that lane.
  if found[1] or found.err then
    answer[#answer + 1] = ARGV[i]
  end
end
return answer
