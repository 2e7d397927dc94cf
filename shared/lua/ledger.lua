-- The ledger's common functions, put before each ledger script.
--
-- KEYS[1] is a shard's base key such as carillon:{s07}; every other key is built from it and so has the same hash tag.
-- Times are milliseconds of the store's own clock, so that a process with a wrong clock cannot steal a lease.
--
-- A row is a delivery, or a router's task. Its status is one string, fields joined by "|":
--   state lane priority token attempts redrives due born expires reason
-- state: p pending, s sending, d delivered, x suppressed, e expired, l dead-lettered. due is when a pending row may be
-- claimed, or when a sending row's lease ends. born is when it first became due: its minute and second are what the
-- tallies and the age of open work are counted by.

local base = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local TALLY_RETENTION_S = 8 * 86400
local STATE_WORDS = {d = 'delivered', x = 'suppressed', e = 'expired', l = 'dead_lettered'}

local function record_key(id) return base .. ':n:' .. id end

local function number(value) return string.format('%.0f', value) end

local function read_row(text)
  local state, lane, priority, token, attempts, redrives, due, born, expires, reason =
    string.match(text, '^(%a)|(%a+)|(%a+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(.*)$')
  return {
    state = state, lane = lane, priority = priority, token = tonumber(token), attempts = tonumber(attempts),
    redrives = tonumber(redrives), due = tonumber(due), born = tonumber(born), expires = tonumber(expires),
    reason = reason,
  }
end

local function write_row(record, key, row)
  redis.call('HSET', record, 's:' .. key, table.concat({
    row.state, row.lane, row.priority, number(row.token), number(row.attempts), number(row.redrives),
    number(row.due), number(row.born), number(row.expires), row.reason,
  }, '|'))
end

local function tally(row, word, count)
  local minute = base .. ':tally:' .. number(math.floor(row.born / 60000))
  if redis.call('HINCRBY', minute, row.lane .. '|' .. word, count) == count then
    redis.call('EXPIRE', minute, TALLY_RETENTION_S)
  end
end

local function count_open(record, row, step)
  local second = number(math.floor(row.born / 1000))
  if redis.call('HINCRBY', base .. ':age:' .. row.lane, second, step) <= 0 then
    redis.call('HDEL', base .. ':age:' .. row.lane, second)
  end
  return redis.call('HINCRBY', record, 'open', step)
end

-- End a row once; the caller has made sure that it is open.
local function end_row(id, record, key, row, state, reason, retention_s)
  row.state, row.reason, row.due = state, reason, now
  write_row(record, key, row)
  redis.call('ZREM', base .. ':due:' .. row.lane, id .. '|' .. key)
  tally(row, STATE_WORDS[state], 1)
  if state == 'l' then
    redis.call('ZADD', base .. ':dead', now, row.lane .. '|' .. id .. '|' .. key)
  end
  if count_open(record, row, -1) <= 0 then
    redis.call('EXPIRE', record, retention_s)
  end
end

-- Rows arrive in ARGV from index `at`, nine arguments each. A key that is there already is left as it is, so that a
-- repeated call adds nothing twice.
local ROW_ARGS = 9

local function add_rows(id, record, at)
  local opened = 0
  for i = at, #ARGV, ROW_ARGS do
    local lane, key, priority, state, reason = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
    local due, expires = tonumber(ARGV[i + 5]), tonumber(ARGV[i + 6])
    local grace, spec = tonumber(ARGV[i + 7]), ARGV[i + 8]
    if redis.call('HEXISTS', record, 's:' .. key) == 0 then
      -- A due time of 0 means now; then a job is published beside this write, and the grace gives it time to arrive.
      local immediate = due <= now
      local born = immediate and now or due
      local row = {
        state = state, lane = lane, priority = priority, token = 0, attempts = 0, redrives = 0,
        due = born, born = born, expires = expires, reason = reason,
      }
      write_row(record, key, row)
      redis.call('HSET', record, 'd:' .. key, spec)
      tally(row, 'created', 1)
      if state == 'p' then
        redis.call('ZADD', base .. ':due:' .. lane, immediate and now + grace or due, id .. '|' .. key)
        count_open(record, row, 1)
        opened = opened + 1
      else
        tally(row, STATE_WORDS[state], 1)
      end
    end
  end
  return opened
end
