-- Count the open rows of a shard and find since when the oldest has been due.
--
-- ARGV: lanes.
-- Answer, per lane: {open rows, age of the oldest in ms}.

local answer = {}
for i = 1, #ARGV do
  local open, oldest = 0, now
  local seconds = redis.call('HGETALL', base .. ':age:' .. ARGV[i])
  for j = 1, #seconds, 2 do
    open = open + tonumber(seconds[j + 1])
    oldest = math.min(oldest, tonumber(seconds[j]) * 1000)
  end
  answer[#answer + 1] = {open, now - oldest}
end
return answer
