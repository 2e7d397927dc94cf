-- Find the lanes of a shard on which something is due or waits, so that the others need no look of their own.
--
-- ARGV: ms to look ahead, then lanes.
-- Answer: {ms until something is due next (0 when it is, -1 when nothing is planned), then in their order the lanes, each
--         with how many are due on it ...}.

local until_ms, soonest, answer = now + tonumber(ARGV[1]), nil, {0}
for i = 2, #ARGV do
  local lane = ARGV[i]
  local found = redis.pcall('ZRANGE', base .. ':due:' .. lane, 0, 0, 'WITHSCORES')
  local due, ready = tonumber(found[2] or ''), base .. ':ready:' .. lane .. ':'
  if due then soonest = math.min(soonest or due, due) end
  -- What is no schedule is the affair of whoever sweeps that lane.
  if found.err or due and (due <= until_ms
    or redis.call('EXISTS', ready .. 'critical', ready .. 'high', ready .. 'normal', ready .. 'low') > 0) then
    answer[#answer + 1] = lane
    answer[#answer + 1] = found.err and 0 or redis.call('ZCOUNT', base .. ':due:' .. lane, '-inf', number(until_ms))
  end
end
answer[1] = soonest and math.max(0, soonest - now) or -1
return answer
