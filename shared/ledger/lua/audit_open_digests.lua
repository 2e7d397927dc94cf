-- Read a page of the open digests of a channel.
--
-- ARGV: channel, cursor ('0' to begin), most, 1 to look at the digests themselves, too.
-- Answer: {next cursor, {id, how many items it is said to have ...}, what is wrong ...}; cursor '0' is the end. What is
--         wrong is {id, how many items it has}, where that differs or nobody will close it.

local channel, cursor, most, is_deep = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local page = redis.call('ZSCAN', base .. ':digests:' .. channel, cursor, 'COUNT', most)
local answer = {page[1], page[2]}
if is_deep then
  for i = 1, #page[2], 2 do
    local id = page[2][i]
    local found, count = read_fields(record_key(id), 'digest', 'open'), redis.call('ZCARD', base .. ':members:' .. id)
    if not found or found[1] ~= 'open' or count_of(found[2]) < 1 or count ~= tonumber(page[2][i + 1]) then
      answer[#answer + 1] = {id, count}
    end
  end
end
return answer
