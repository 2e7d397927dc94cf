-- Marks everything as read: own entries, and the feed up to what the caller has seen of it.
-- ARGV: retention_s, feed epoch, feed floor, feed sequence, tenant or '', then id and sequence of each feed entry of others
-- Returns: 1 if something changed, position, feed states, sessions, the ids of the own entries that were unread; and of the
--          feed, up to where it was read before, and which entries behind that were read or archived.
local base = KEYS[1]
local retention_s = ARGV[1]
local up_to = tonumber(ARGV[4])
local states = base .. ':feed_state'

local own_changed, feed_changed = false, false
local read, read_before, done_before = {}, up_to, {}
if unread(base) > 0 then
  local is_seen = is_asked_for(base, ARGV[5], nil)
  for _, id in ipairs(redis.call('ZRANGE', base .. ':inbox', 0, -1)) do
    if not is_seen or is_seen(id) then
      if redis.call('HSETNX', base .. ':state', id, 'r') == 1 then read[#read + 1] = id end
    end
  end
  own_changed = true
end

if up_to > 0 then
  local read_up_to = settle_feed_state(base, ARGV[2], tonumber(ARGV[3]))
  read_before = read_up_to
  -- What others see and this caller does not stays as it is, whatever the mark covers.
  local hidden = {}
  for index = 6, #ARGV, 2 do
    hidden[ARGV[index]] = true
    if tonumber(ARGV[index + 1]) > read_up_to then
      redis.call('HSETNX', states, ARGV[index], 'u' .. ARGV[index + 1])
    end
  end
  if up_to > read_up_to then
    redis.call('HSET', base .. ':meta', 'feed_read', text(up_to))
    read_up_to, feed_changed = up_to, true
  end
  -- What the mark covers needs no field of its own; archived entries stay archived.
  local all = redis.call('HGETALL', states)
  for index = 1, #all, 2 do
    local letter, sequence = string.sub(all[index + 1], 1, 1), tonumber(string.sub(all[index + 1], 2)) or 0
    if letter ~= 'u' and sequence > read_before then done_before[#done_before + 1] = all[index] end
    if letter ~= 'a' and sequence <= read_up_to and not hidden[all[index]] then
      redis.call('HDEL', states, all[index])
      feed_changed = true
    end
  end
end

if own_changed or feed_changed then
  changed(base, retention_s, feed_changed)
end
local answer = told(base, own_changed or feed_changed)
answer[#answer + 1] = read
answer[#answer + 1] = text(read_before)
answer[#answer + 1] = done_before
return answer
