-- Reads a page of a user's inbox, the newest first. It looks at a bounded number of ids in one call: go on from the bound.
-- ARGV: id of an own entry that stands right above the page, or ''; else a bound of ZREVRANGEBYSCORE; letters of the states
--       that are wanted (u, r, a, s); most; most ids to look at; limit, retention_s; tenant or ''; 1 to count by category;
--       then the categories that are wanted, as JSON, or none of them for all
-- Returns: nothing if there is no such entry, else the order of that entry or '', the bound to go on from or '', then as
--          inbox_read, then for each category among what is neither archived nor snoozed: as JSON, entries, unread ones.
local base = KEYS[1]
local above, upper, want, most, looked = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local tenant = ARGV[8]
prune(base, 'inbox', tonumber(ARGV[6]), tonumber(ARGV[7]))
local order = ''
if above ~= '' then
  local found = redis.call('ZSCORE', base .. ':order', above)
  if not found then
    return {}
  end
  order = text(tonumber(found))
  upper = '(' .. order
end

local categories
for index = 10, #ARGV do
  categories = categories or {}
  categories[ARGV[index]] = true
end
local entries, on = newest(base, upper, want, most, looked, is_asked_for(base, tenant, categories))

local counts, by_category = {}, {}
if ARGV[9] == '1' then
  local is_seen = is_asked_for(base, tenant, nil)
  local values = redis.call('HGETALL', base .. ':entries')
  for index = 1, #values, 2 do
    local id = values[index]
    local state = redis.call('HGET', base .. ':state', id)
    if (not state or state == 'r') and (not is_seen or is_seen(id)) then
      local category = category_of(values[index + 1])
      by_category[category] = by_category[category] or { 0, 0 }
      by_category[category][1] = by_category[category][1] + 1
      by_category[category][2] = by_category[category][2] + (state and 0 or 1)
    end
  end
end
for category, count in pairs(by_category) do
  counts[#counts + 1] = category
  counts[#counts + 1] = count[1]
  counts[#counts + 1] = count[2]
end
return { order, on, { position(base), redis.call('HGETALL', base .. ':feed_state'), entries }, counts }
