-- lease_term: for how long leases count, by a clock that may be set, or be another one's after a
-- failover. Stands behind lease_text.lua.
--
-- Set back: a lease that would count for longer than its length counts from when that is seen. Set
-- forward: leases end too early; their daemon takes them again if nobody else was faster.

-- The hash outlives its leases by this much, so that a clock set forward by less removes none.
local KEPT_MS = 24 * 60 * 60 * 1000

local function now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function now_ms()
  return math.floor(now_us() / 1000)
end

-- All that count, and those that are over, by daemon. These, and what is no lease, are removed; but
-- not the lease of this fence that daemon `me` counts on: nobody has had the lock since.
local function lease_read_all(key, now, me, fence)
  local leases, over = {}, {}
  -- Removing first lets the rest be written in a Redis that is full: see EVAL in its manual.
  redis.call('HDEL', key, '')
  local raw = redis.call('HGETALL', key)
  for i = 1, #raw, 2 do
    local id, lease = raw[i], lease_read(raw[i + 1])
    if not lease or (lease.expiry <= now and not (id == me and lease.fence == fence)) then
      redis.call('HDEL', key, id)
      over[id] = lease
    else
      leases[id] = lease
      if lease.expiry > now + lease.length then
        lease.expiry = now + lease.length
        lease_write(key, id, lease)
      end
    end
  end
  return leases, over
end
