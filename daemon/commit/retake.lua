-- retake: a lease is this daemon's again, in a Redis that has come back without it, unless somebody
-- has had the lock since. KEYS: the leases. ARGV: this daemon, the fence, and for how many ms: as
-- long as sending the batch again may take.

local me, mine, ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()
for id, lease in pairs(lease_read_all(KEYS[1], now, me, mine)) do
  if id == me and lease.fence == mine and lease.expiry > now then return 0 end
  if id ~= '@last' and id ~= me or lease.fence > mine then return 0 end
end
lease_write(KEYS[1], me, {mode = 'x', fence = mine, expiry = now + ms, length = ms})
redis.call('PEXPIRE', KEYS[1], KEPT_MS)
return 1
