-- retake: a lease is this daemon's again, in a Redis that has come back without it, unless somebody
-- has had the lock since. KEYS: the leases. ARGV: this daemon, the fence, and for how many ms: as
-- long as sending the batch again may take.

local me, mine, ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local mode, fence = lease_read(all[i + 1], now)
  if mode then
    if all[i] == me and fence == mine then return 0 end
    if all[i] ~= '@last' or fence > mine then return 0 end
  end
end
lease_write(KEYS[1], me, 'x', mine, now + ms)
redis.call('PEXPIREAT', KEYS[1], text(now + ms))
return 1
