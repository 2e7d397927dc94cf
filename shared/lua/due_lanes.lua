-- Find the lanes of a shard on which something is due, so that the others need no look of their own.
--
-- ARGV: ms to look ahead, then lanes.
-- Answer: the lanes, in their order.

local until_ms, answer = now + tonumber(ARGV[1]), {}
for i = 2, #ARGV do
  if redis.call('ZRANGEBYSCORE', base .. ':due:' .. ARGV[i], '-inf', until_ms, 'LIMIT', 0, 1)[1] then
    answer[#answer + 1] = ARGV[i]
  end
end
return answer
