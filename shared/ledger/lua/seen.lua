-- Say in the timeline of an incident that a person has seen it, once for each person: v:USER in the record.
--
-- ARGV: id, user id, the line.
-- Answer: {1, ms since it stood in the person's inbox, or -1 where nobody knows, the notification's priority} when it is
--         written, {0} when it was written before, or there is no such incident.

local id, user, entry = ARGV[1], ARGV[2], ARGV[3]
local record = record_key(id)
local found = read_fields(record, 'turn', 's:realtime:' .. user, 'c')
local length = redis.pcall('LLEN', base .. ':timeline:' .. id)
-- Every incident has a first line. Where the last one is written, no reader makes the record grow either.
if not found or not found[1] or type(length) ~= 'number' or length == 0 or length >= MOST_ENTRIES then
  return {0}
end
if redis.call('HSETNX', record, 'v:' .. user, number(now)) == 0 then
  return {0}
end
write_timeline(id, entry)
local row = read_row(found[2])
local waited = row and row.state == 'd' and math.max(0, now - row.due) or -1
-- Behind the id and the kind, neither of which can hold these characters.
return {1, waited, string.match(found[3] or '', '"priority":"(%l+)"') or ''}
