-- lease_text: how leases look in Redis. It stands before each script that touches one, so that
-- they are read and written here and nowhere else.
--
--   hash <prefix>:@lock:...   daemon -> "mode fence expiry length"; mode x or s, expiry in ms of this
--                             Redis' clock, length in ms
--                             "@last" -> "- fence expiry length": the highest fence of leases that
--                             have ended
--
-- Who takes a lock removes the leases that are over (lease_term.lua). So one whose text is there
-- has not been another's, whatever the clock says.

local FENCE_MAX = 2 ^ 53           -- whole numbers of Lua end there
local LENGTH_MAX = 60 * 60 * 1000  -- as locks.lock_lease has it

local function text(number)
  return string.format('%.0f', number)
end

local function lease_write(key, id, lease)
  redis.call('HSET', key, id, lease.mode .. ' ' .. text(lease.fence) .. ' ' .. text(lease.expiry)
    .. ' ' .. text(lease.length))
end

-- nil: this is none.
local function lease_read(value)
  local mode, fence, expiry, length = string.match(value, '^([xs-]) (%d+) (%d+) (%d+)$')
  fence, expiry, length = tonumber(fence), tonumber(expiry), tonumber(length)
  if mode and fence < FENCE_MAX and length <= LENGTH_MAX then
    return {mode = mode, fence = fence, expiry = expiry, length = length}
  end
end
