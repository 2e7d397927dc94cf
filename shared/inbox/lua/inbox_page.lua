-- Reads a page of a user's inbox, the newest first. It looks at a bounded number of ids in one call: go on from the bound.
-- ARGV: id of an own entry that stands right above the page, or ''; else a bound of ZREVRANGEBYSCORE; letters of the states
--       that are wanted (u, r, a); most; most ids to look at; limit, retention_s
-- Returns: nothing if there is no such entry, else the order of that entry or '', the bound to go on from or '', then as
--          inbox_read.
local base = KEYS[1]
local above, upper, want, most, looked = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
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
local entries, on = newest(base, upper, want, most, looked)
return { order, on, { position(base), redis.call('HGETALL', base .. ':feed_state'), entries } }
