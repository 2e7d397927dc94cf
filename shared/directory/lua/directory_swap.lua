-- Replace one user's record.
--
-- KEYS[1]: the record. ARGV: the new JSON or '' to delete, the JSON that must stand there now or '*' for any.
-- Answer: {1, what stood there or ''} or {0, what stands there}.

local before = redis.call('GET', KEYS[1]) or ''
if ARGV[2] ~= '*' and ARGV[2] ~= before then
  return {0, before}
end
if ARGV[1] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1])
end
return {1, before}
