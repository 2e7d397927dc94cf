-- Reads the feed. ARGV: epoch and sequence that the caller has, limit, retention_s
-- Returns: epoch, seq, floor, status, entries after the caller's, oldest first (id, sequence, order, value, ...), and those that
-- were taken back (id, microsecond, ...).
local base = KEYS[1]
prune(base, 'log', tonumber(ARGV[3]), tonumber(ARGV[4]))
local meta = redis.call('HMGET', base .. ':meta', 'epoch', 'seq', 'floor')
local after = meta[1] == ARGV[1] and ARGV[2] or '0'
local entries = {}
-- Where a damaged feed stands, its newest entry says.
local newest = redis.call('ZRANGE', base .. ':log', -1, -1, 'WITHSCORES')[2]
local seq = tonumber(meta[2] or '0') or tonumber(newest or '0')
if meta[2] and seq ~= tonumber(after) then
  local found = redis.call('ZRANGEBYSCORE', base .. ':log', '(' .. after, '+inf', 'WITHSCORES')
  for index = 1, #found, 2 do
    entries[#entries + 1] = found[index]
    entries[#entries + 1] = text(tonumber(found[index + 1]))
    entries[#entries + 1] = text(tonumber(redis.call('ZSCORE', base .. ':order', found[index]) or found[index + 1]))
    entries[#entries + 1] = redis.call('HGET', base .. ':entries', found[index]) or ''
  end
end
return {
  meta[1] or '', text(seq), text(tonumber(meta[3] or '0') or 0), redis.call('GET', base .. ':status') or '', entries,
  redis.call('ZRANGE', base .. ':recalled', 0, -1, 'WITHSCORES'),
}
