-- Takes the right to publish that a user pressed an action. ARGV: id, action, how long it takes at most (ms), retention_s
-- Returns: published if it was published before; busy while somebody else has the right; else mine.
local base = KEYS[1]
local id, action, lease_ms, retention_s = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local key = base .. ':acted'
local now_ms = math.floor(now_us() / 1000)

-- Presses of entries that are gone do not pile up.
if redis.call('HLEN', key) >= PRESSED_MOST then
  for _, known in ipairs(redis.call('HKEYS', key)) do
    if not redis.call('ZSCORE', base .. ':inbox', known) then
      redis.call('HDEL', key, known)
    end
  end
end

local pressed = pressed_actions(base, id)
local until_ms = pressed[action]
if until_ms == 0 then
  return 'published'
elseif until_ms and until_ms > now_ms then
  return 'busy'
end
pressed[action] = now_ms + lease_ms
redis.call('HSET', key, id, cjson.encode(pressed))
redis.call('EXPIRE', key, retention_s)
return 'mine'
