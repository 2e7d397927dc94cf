-- Add the rows that take back what other rows of a record have delivered, each once.
--
-- The row to be taken back has the same key without the ending RECALL. A recall is added where that one was delivered, is
-- in somebody's hands, or ended after an attempt of which nobody knows whether it arrived. While somebody has it, the
-- recall waits for the end of the lease; finish.lua brings it forward, or ends it where nothing was delivered.
--
-- ARGV: id, retention s, history entries kept, rows handed over at most per lane and priority, rows.
-- Answer: {'unknown'}, or {for each row: 2 where it was added and is due now, 1 where it stands, 0 where it does not,
--         numbers of those that are due and wait, counted from 0}.

local id, kept, rows_at = ARGV[1], tonumber(ARGV[3]), 5
local record = record_key(id)
local about = read_fields(record, 'c', 'publisher', 'share')
if not about or not about[1] then
  return {'unknown'}
end

-- The outcome is the second of an attempt's fields, after the provider.
local function is_in_doubt(key, row)
  if row.token == 0 then return false end
  local slots = {}
  for slot = 0, kept - 1 do slots[#slots + 1] = 'a:' .. key .. ':' .. slot end
  for _, attempt in ipairs(redis.call('HMGET', record, unpack(slots))) do
    if attempt and string.match(attempt, '^%d+|[^|]*|unknown|') then return true end
  end
  return false
end

local stands, is_new = {}, {}
for i = rows_at, #ARGV, ROW_ARGS do
  local key = ARGV[i + 1]
  local origin = string.sub(key, 1, -#RECALL - 1)
  local found = redis.call('HMGET', record, 's:' .. key, 's:' .. origin)
  local row = read_row(found[2])
  local known = read_row(found[1])
  local answer = known and known.state ~= 'x' and 1 or 0
  if not found[1] and row and (row.state == 'd' or row.state == 's' or is_in_doubt(origin, row)) then
    is_new[key], answer = true, 2
    if row.state == 's' and row.due > now then ARGV[i + 5], answer = number(row.due), 1 end
  end
  stands[#stands + 1] = answer
end

local publisher, waiting = {window = tonumber(ARGV[4])}, {}
publisher.name, publisher.share = publisher_of(about[2], about[3])
local opened = next(is_new)
  and add_rows(id, record, rows_at, #ARGV, function(key) return is_new[key] end, {}, publisher, waiting, 0) or 0
if opened > 0 then
  count_record(record, opened)
  redis.call('PERSIST', record)
end
return {stands, waiting}
