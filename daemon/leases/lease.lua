-- lease: all that happens to the leases of locks in Redis, as one script, so that every step is
-- atomic. lease_call.c sends it; daemon/leases/lease.h says what leases are for.
--
--   KEYS  1: highest fence ever given     then for each lock: its leases (hash), its queue (zset)
--         in a cluster all are of one slot, and the last one is none (format_still)
--   ARGV  1: this daemon   2: length of a lease in ms   3: highest fence this daemon has seen
--         4: how channels begin           then for each lock 9 words: operation, mode, have, fence,
--         expiry, last, key, path, action
--
--   leases  as daemon/redis/lease_text.lua has them
--   queue   "mode daemon", by order of arrival
--
-- mode: what is wanted, "-": nothing. have, fence, expiry: the lease that the daemon counts on, "-",
-- 0 and 0: none. last: the highest fence it has given on that lease.
--
--   take   a lease of this mode, or a place in the queue      try    the same, without a place
--   keep   prolongs the lease; takes it again where Redis has forgotten it before its time and
--          nobody else has had it
--   drop   gives the lease up, and queues when a mode is wanted
--   share  turns x into s             leave  leaves the queue            break  ends all others'
--
-- Each is answered by one of:
--   held, mode, fence, expiry, first, wanted
--                        fence: of the lease; first: the first to be given on it, 0: go on as
--                        before; wanted: mode of the first in the queue, "": nobody waits
--   queued, ms, daemon...   who has it, and when that must have run out
--   lost, daemon or ""      the lease is not this daemon's any more
--   free                    neither lease nor place in the queue (of leave: no place)
--   broke, count            so many daemons have lost it
--   error, text
--
-- Messages: granted [mode], wanted [mode], broken [fence], over [fence], moved [ms, daemon...], each
-- behind key, path, action. A granted lease is an offer: it runs out soon unless the daemon takes it.

local OFFER_MS = 1000
local TOLD = 16 -- so many of the queue are told who has it now

local me, lease_ms, floor, channels = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local us = now_us()
local now = math.floor(us / 1000)

-- Fences: never back, whatever happens to Redis' state or to its clock alone.

local function highest_fence()
  return tonumber(redis.call('GET', KEYS[1]) or 0) or 0
end

local function next_fence()
  local fence = math.max(highest_fence() + 1, us, floor + 1)
  if not (fence < FENCE_MAX) then error(KEYS[1] .. ' holds no fence', 0) end
  redis.call('SET', KEYS[1], text(fence))
  return fence
end

local function note_fence(fence)
  if fence > highest_fence() and fence < FENCE_MAX then redis.call('SET', KEYS[1], text(fence)) end
end

-- The leases.

local function put(lock, id, mode, fence, expiry, length)
  lock.held[id] = {mode = mode, fence = fence, expiry = expiry, length = length}
  lease_write(lock.leases, id, lock.held[id])
end

local function remove(lock, id)
  lock.held[id] = nil
  redis.call('HDEL', lock.leases, id)
end

local function put_last(lock, fence)
  local before = lock.last_ended and lock.last_ended.fence or 0
  lock.last_ended =
    {mode = '-', fence = math.max(before, fence), expiry = now + lease_ms, length = lease_ms}
  lease_write(lock.leases, '@last', lock.last_ended)
end

local function read(lock)
  lock.held, lock.over = lease_read_all(lock.leases, now, me, lock.have ~= '-' and lock.fence)
  lock.last_ended, lock.held['@last'] = lock.held['@last'], nil
end

local function compatible(lock, id, mode)
  for other, lease in pairs(lock.held) do
    if other ~= id and (mode == 'x' or lease.mode == 'x') then return false end
  end
  return true
end

-- How many have heard it; nil where Redis does not let us PUBLISH.
local function tell(lock, id, what, ...)
  local message = {what, lock.key, lock.path, lock.action, ...}
  local heard = redis.pcall('PUBLISH', channels .. id, cmsgpack.pack(message))
  return type(heard) == 'number' and heard or nil
end

-- Who else has it, and when that must have run out.
local function others(lock, except)
  local latest, ids = 0, {}
  for id, lease in pairs(lock.held) do
    if id ~= except then
      latest = math.max(latest, lease.expiry)
      ids[#ids + 1] = id
    end
  end
  return latest > 0 and math.max(latest - now, 0) or lease_ms, ids
end

-- The queue.

local function leave(lock)
  redis.call('ZREM', lock.queue, 'x ' .. me, 's ' .. me)
end

-- Who is in it keeps its place, in whatever mode.
local function join(lock)
  local member = lock.mode .. ' ' .. me
  local other = (lock.mode == 'x' and 's ' or 'x ') .. me
  local score = redis.call('ZSCORE', lock.queue, other)
  if score then
    redis.call('ZREM', lock.queue, other)
  elseif not redis.call('ZSCORE', lock.queue, member) then
    score = (tonumber(redis.call('ZRANGE', lock.queue, -1, -1, 'WITHSCORES')[2]) or 0) + 1
  end
  if score then redis.call('ZADD', lock.queue, score, member) end
  redis.call('PEXPIRE', lock.queue, KEPT_MS)
end

local function first_wanted(lock)
  for _, member in ipairs(redis.call('ZRANGE', lock.queue, 0, 1)) do
    local mode, id = string.match(member, '^([xs]) (.+)$')
    if id ~= me then return mode or '' end
  end
  return ''
end

local function hold(lock, mode)
  local mine = lock.held[me]
  lock.first = next_fence()
  -- What this daemon counts on keeps its fence: commits that name it are on their way.
  local fence = lock.have ~= '-' and mine and mine.fence or lock.first
  put(lock, me, mode, fence, now + lease_ms, lease_ms)
end

local function offer(lock, id, mode, ms)
  local has = lock.held[id]
  local expiry = now + ms
  if has and has.expiry > expiry then
    put(lock, id, mode, has.fence, has.expiry, has.length)
  else
    put(lock, id, mode, has and has.fence or 0, expiry, ms)
  end
end

-- Gives the lease to the first of the queue, and to those behind it that can share it. Who does
-- not listen is passed over. Who cannot be told asks again by itself, within the length of a lease:
-- it is offered for that long. mine: this daemon's own turn is taken at once.
local function serve(lock, mine)
  local offered = false
  local member = redis.call('ZRANGE', lock.queue, 0, 0)[1]
  while member do
    local mode, id = string.match(member, '^([xs]) (.+)$')
    if mode and not compatible(lock, id, mode) then break end
    redis.call('ZREM', lock.queue, member)
    if id == me and mine then
      hold(lock, mode)
    elseif mode then
      local heard = tell(lock, id, 'granted', mode)
      if heard ~= 0 then
        offer(lock, id, mode, heard and OFFER_MS or lease_ms)
        offered = true
      end
    end
    member = redis.call('ZRANGE', lock.queue, 0, 0)[1]
  end
  if not offered then return end
  for _, behind in ipairs(redis.call('ZRANGE', lock.queue, 0, TOLD - 1)) do
    local id = string.sub(behind, 3)
    if id ~= me then
      local ms, ids = others(lock, id)
      tell(lock, id, 'moved', ms, unpack(ids, 1, math.min(#ids, 8)))
    end
  end
end

-- The operations.

local function held(lock)
  local mine = lock.held[me]
  return {'held', mine.mode, mine.fence, mine.expiry, lock.first, first_wanted(lock)}
end

local function queued(lock)
  local ms, ids = others(lock, me)
  if lock.op ~= 'try' then
    for _, id in ipairs(ids) do
      -- An offer that nobody has taken yet: who takes it is told then.
      if lock.held[id].fence > 0 then tell(lock, id, 'wanted', lock.mode) end
    end
  end
  return {'queued', ms, unpack(ids, 1, math.min(#ids, 8))}
end

local function lost(lock)
  local _, ids = others(lock, me)
  return {'lost', ids[1] or ''}
end

local function is_mine(lock)
  local mine = lock.held[me]
  return mine and mine.fence == lock.fence
end

local function take(lock)
  if lock.have ~= '-' and not is_mine(lock) then return lost(lock) end
  local mine = lock.held[me]
  if mine and (mine.mode == 'x' or lock.mode == 's') then
    leave(lock)
    hold(lock, mine.mode)
    return held(lock)
  end
  if mine and lock.have == '-' then remove(lock, me) end
  join(lock)
  serve(lock, true)
  if lock.first > 0 then return held(lock) end
  if lock.op == 'try' then leave(lock) end
  return queued(lock)
end

-- By this Redis' clock, or one that was a little ahead of it: what comes later was long on its way,
-- and somebody may have had the lock meanwhile who has left no trace.
local function in_its_term(lock)
  return now < lock.expiry and lock.expiry <= now + 2 * lease_ms
end

local function keep(lock)
  local mine = lock.held[me]
  note_fence(lock.last)
  if mine and mine.fence == lock.fence then
    if mine.mode ~= lock.have then lock.first = next_fence() end
    put(lock, me, mine.mode, lock.fence, now + lease_ms, lease_ms)
  elseif (not mine or mine.fence < lock.fence) and in_its_term(lock)
      and (not lock.last_ended or lock.last_ended.fence <= lock.fence)
      and compatible(lock, me, lock.have) then
    put(lock, me, lock.have, lock.fence, now + lease_ms, lease_ms)
  else
    return lost(lock)
  end
  return held(lock)
end

local function drop(lock)
  local mine = lock.held[me]
  note_fence(lock.last)
  if mine then
    remove(lock, me)
    if mine.fence > 0 then put_last(lock, math.max(mine.fence, lock.last)) end
  end
  lock.have = '-'
  if lock.mode == '-' then leave(lock) else join(lock) end
  serve(lock, true)
  if lock.first > 0 then return held(lock) end
  return lock.mode == '-' and {'free'} or queued(lock)
end

local function share(lock)
  if not is_mine(lock) then return lost(lock) end
  note_fence(lock.last)
  leave(lock)
  local mine = lock.held[me]
  put(lock, me, 's', lock.fence, mine.expiry, mine.length)
  serve(lock, false)
  return held(lock)
end

local function break_all(lock)
  local ids, count = {}, 0
  for id, lease in pairs(lock.held) do
    if id ~= me and lease.fence > 0 then ids[id] = lease.fence end
  end
  for id, fence in pairs(ids) do
    remove(lock, id)
    tell(lock, id, 'broken', fence)
    count = count + 1
  end
  if count > 0 then put_last(lock, next_fence()) end
  serve(lock, false)
  return {'broke', count}
end

local operations = {
  take = take, try = take, keep = keep, drop = drop, share = share,
  leave = function(lock)
    leave(lock)
    serve(lock, false)
    return {'free'}
  end,
  ['break'] = break_all,
}

local function carry_out(lock)
  read(lock)
  for id, lease in pairs(lock.over) do
    -- Its daemon is dead; or it counts on, as this clock was set forward.
    if lease.mode ~= '-' and lease.fence > 0 then tell(lock, id, 'over', lease.fence) end
  end
  local answer = operations[lock.op](lock)
  if next(lock.held) then
    redis.call('PEXPIRE', lock.leases, KEPT_MS)
  elseif lock.last_ended then
    redis.call('PEXPIRE', lock.leases, lock.last_ended.length)
  end
  return answer
end

-- What one lock's keys hold wrongly is no concern of the others.
local answers = {}
for i = 2, #KEYS - 1, 2 do
  local at = 4 + (i - 2) / 2 * 9
  local lock = {
    leases = KEYS[i], queue = KEYS[i + 1], first = 0,
    op = ARGV[at + 1], mode = ARGV[at + 2], have = ARGV[at + 3],
    fence = tonumber(ARGV[at + 4]), expiry = tonumber(ARGV[at + 5]),
    last = tonumber(ARGV[at + 6]),
    key = ARGV[at + 7], path = ARGV[at + 8], action = ARGV[at + 9],
  }
  local ok, answer = pcall(carry_out, lock)
  if not ok then
    answer = {'error', type(answer) == 'table' and answer.err or tostring(answer)}
  end
  answers[#answers + 1] = answer
end
return answers
