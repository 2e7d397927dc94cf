-- Read the accounts of digests, by channel.
--
-- ARGV: channels.
-- Answer, per channel: {came in, left, taken out, waiting, open digests}.

local WORDS = {'in', 'out', 'taken_out', 'waiting'}

local answer = {}
for i, channel in ipairs(ARGV) do
  local numbers = {}
  for j, word in ipairs(WORDS) do numbers[j] = count_of(redis.call('HGET', base .. ':items', channel .. '|' .. word)) end
  numbers[#WORDS + 1] = redis.call('ZCARD', base .. ':digests:' .. channel)
  answer[i] = numbers
end
return answer
