-- Read what stands under a name in the index of some days, see note_told.
--
-- ARGV: part, name, days.
-- Answer: for each day the places, or ''.

local answer = {}
for i = 3, #ARGV do
  local places = redis.pcall('HGET', base .. ':told:' .. ARGV[i] .. ':' .. ARGV[1], ARGV[2])
  answer[#answer + 1] = type(places) == 'string' and places or ''
end
return answer
