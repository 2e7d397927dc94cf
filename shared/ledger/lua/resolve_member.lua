-- Write that the alert with these keys is over, as its publisher says. Alerts that are told together are members of one
-- incident; another one is its only member.
--
-- ARGV: the incident's key, the alert's own or '', the line of the timeline, retention s.
-- Answer: {'unknown', ''} (none is open), {'done', id of the incident} (others of it are open), or {'over', that id}: all of
--         it is over, and the caller resolves it.

local dedup, member_key, entry = ARGV[1], ARGV[2], ARGV[3]
local id = redis.call('GET', base .. ':alert:' .. dedup)
local found = id and read_fields(record_key(id), 'alert', 'cancelled')
if not found or not found[1] or found[1] == 'resolved' or found[2] then
  return {'unknown', ''}
end
if member_key == '' then
  return {'over', id}
end
if not read_member(id, member_key) then
  return {'unknown', ''}
end
return {close_member(id, member_key, entry) > 0 and 'done' or 'over', id}
