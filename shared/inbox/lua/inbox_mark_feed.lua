-- Changes one user's state of one feed entry, which the caller has seen in the feed.
-- ARGV: id, sequence, read|unread|archive, retention_s, feed epoch, feed floor
-- Returns: 1 if something changed, position, feed states, sessions; and its id if it was unread and is read now.
local base = KEYS[1]
local id, change, retention_s = ARGV[1], ARGV[3], ARGV[4]
local sequence = tonumber(ARGV[2])
local states = base .. ':feed_state'

local read_up_to = settle_feed_state(base, ARGV[5], tonumber(ARGV[6]))
local by_default = sequence <= read_up_to and 'r' or 'u'
local stored = redis.call('HGET', states, id)
local before = stored and string.sub(stored, 1, 1) or by_default
local after = before
if change == 'archive' then
  after = 'a'
elseif change == 'unread' then
  after = 'u'
elseif before == 'u' then
  after = 'r'
end
if after == before then
  return told(base, false)
end
if after == by_default then
  redis.call('HDEL', states, id)
else
  redis.call('HSET', states, id, after .. ARGV[2])
end
changed(base, retention_s, true)
local answer = told(base, true)
if change == 'read' then
  answer[#answer + 1] = {id}
end
return answer
