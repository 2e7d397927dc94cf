-- Write down that a person has read a notification in the inbox, once for each person: v:USER in the record. Of an
-- incident, its timeline says so, too.
--
-- ARGV: id, user id, the line, how many people are named for one notification.
-- Answer: {1, ms since it stood in the person's inbox, or -1 where nobody knows, the notification's priority} when a line
--         of a timeline is written, {0} otherwise.

local id, user, entry, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local record = record_key(id)
local found = read_fields(record, 'turn', 's:realtime:' .. user, 'c', 'seen')
-- What is forgotten does not come back by its readers.
if not found or not found[3] then
  return {0}
end
if count_of(found[4]) >= most then
  if redis.call('HEXISTS', record, 'v:' .. user) == 0 then redis.call('HSET', record, 'seen_more', 1) end
  return {0}
end
local length = found[1] and redis.pcall('LLEN', base .. ':timeline:' .. id)
-- Every incident has a first line. Where the last one is written, no reader makes the record grow either.
if found[1] and (type(length) ~= 'number' or length == 0 or length >= MOST_ENTRIES) then
  return {0}
end
if redis.call('HSETNX', record, 'v:' .. user, number(now)) == 0 then
  return {0}
end
count_field(record, 'seen', 1)
if not found[1] then
  return {0}
end
write_timeline(id, entry)
local row = read_row(found[2])
local waited = row and row.state == 'd' and math.max(0, now - row.due) or -1
-- Behind the id and the kind, neither of which can hold these characters.
return {1, waited, string.match(found[3] or '', '"priority":"(%l+)"') or ''}
