-- Lease router slots.
--
-- KEYS[1]: base; base:owners is a hash of slot -> "owner|lease end in ms". A slot that stands there has sessions at the
-- broker; a free one does not stand there. base:late is a hash of slot -> when its owner last renewed late, in ms.
-- ARGV: take | orphan | renew | release, owner, lease ms, slots there are (take), our own slot (orphan) or the slot.
-- Answer: the slot, or 1 for renewed or released; -1 (take, orphan) or 0 when there is none or it is not ours.

local owners, late = KEYS[1] .. ':owners', KEYS[1] .. ':late'
local what, owner, lease_ms, number = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- When the store was away, leases may have lapsed, or lapse at once, whose owners live and renew in a moment. Who could
-- not renew for half a lease himself waits for so many leases before he takes anybody for dead.
local DOUBTFUL_LEASES = 2
local late_from = now + lease_ms / 2

local function lease(slot)
  redis.call('HSET', owners, slot, owner .. '|' .. string.format('%.0f', now + lease_ms))
end

local function read_lease(text)
  local name, lease_end = string.match(text, '^(.*)|(%d+)$')
  -- Whose lease cannot be read has none.
  return name or '', tonumber(lease_end or '0')
end

local function read(slot)
  local text = redis.call('HGET', owners, slot)
  if not text then
    return nil, 0
  end
  return read_lease(text)
end

if what == 'take' then
  for slot = 0, number - 1 do
    local name, lease_end = read(slot)
    if not name or lease_end <= now then
      lease(slot)
      redis.call('HDEL', late, slot)
      return slot
    end
  end
  return -1
end

local name, own_end = read(number)
if what == 'orphan' then
  local renewed_late = tonumber(redis.call('HGET', late, number) or '0') or 0
  if name ~= owner or own_end <= late_from or now < renewed_late + DOUBTFUL_LEASES * lease_ms then
    return -1
  end
  -- One command, because every router asks all the time.
  local leases = redis.call('HGETALL', owners)
  for i = 1, #leases, 2 do
    local slot, _, lease_end = leases[i], read_lease(leases[i + 1])
    if not tonumber(slot) then
      redis.call('HDEL', owners, slot)
    elseif lease_end <= now then
      lease(slot)
      redis.call('HDEL', late, slot)
      return tonumber(slot)
    end
  end
  return -1
end

if name ~= owner then
  return 0
end
if what == 'renew' then
  if own_end <= late_from then
    redis.call('HSET', late, number, string.format('%.0f', now))
  end
  lease(number)
else
  redis.call('HDEL', owners, number)
  redis.call('HDEL', late, number)
end
return 1
