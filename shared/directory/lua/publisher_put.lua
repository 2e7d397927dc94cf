-- Write, replace or delete a publisher's record, and make its keys its own.
--
-- KEYS[1]: base; base:records is a hash of name -> JSON, base:keys one of a key's SHA-256 -> name.
-- ARGV: name, the JSON or '' to delete, then the SHA-256 of each key.
-- Answer: 1, or 0 where a key is another publisher's, and nothing was written.

local records, keys, name = KEYS[1] .. ':records', KEYS[1] .. ':keys', ARGV[1]
for i = 3, #ARGV do
  local owner = redis.call('HGET', keys, ARGV[i])
  if owner and owner ~= name then
    return 0
  end
end
local before = redis.call('HGET', records, name)
local is_json, record = pcall(cjson.decode, before or '')
if is_json and type(record) == 'table' and type(record.keys) == 'table' then
  for _, digest in ipairs(record.keys) do redis.call('HDEL', keys, digest) end
end
for i = 3, #ARGV do redis.call('HSET', keys, ARGV[i], name) end
if ARGV[2] == '' then
  redis.call('HDEL', records, name)
else
  redis.call('HSET', records, name, ARGV[2])
end
return 1
