-- Count the notifications of which something became due, minute by minute.
--
-- ARGV: first minute, last minute.
-- Answer: for each minute how many; 0 where something else stands there.

local answer = {}
for minute = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local count = redis.pcall('SCARD', base .. ':born:' .. number(minute))
  answer[#answer + 1] = type(count) == 'number' and count or 0
end
return answer
