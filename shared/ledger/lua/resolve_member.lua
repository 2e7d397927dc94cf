-- Write that the alert with these keys is over, as its publisher says. Alerts that are told together are members of one
-- incident; another one is its only member.
--
-- ARGV: the incident's key, the alert's own or '', the line of the timeline, since when in ms it was so, by its publisher's
--       word, or 0.
-- Answer: {'unknown', ''} (none is open, or what is open began later), {'done', id of the incident} (others of it are open),
--         or {'over', that id}: all of it is over, and the caller resolves it.

local dedup, member_key, entry, starts = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local id = redis.call('GET', base .. ':alert:' .. dedup)
local found = id and read_fields(record_key(id), 'alert', 'cancelled')
if not found or not found[1] then
  return {'unknown', ''}
end
local member
if member_key ~= '' then
  member = read_member(id, member_key)
  if not member then
    return {'unknown', ''}
  end
  local is_json, said = pcall(cjson.decode, redis.call('HGET', base .. ':alerts_said:' .. id, member_key) or '')
  local began = is_json and type(said) == 'table' and tonumber(said.starts_ms) or 0
  if starts > 0 and began > starts then
    return {'unknown', ''}
  end
end
-- Also where a person has ended or cancelled it before: only now it may begin again.
forget_known(member and member.id or id)
if found[1] == 'resolved' or found[2] then
  return {'unknown', ''}
end
if not member then
  return {'over', id}
end
return {close_member(id, member_key, entry) > 0 and 'done' or 'over', id}
