-- lease_text: how leases look in Redis. It stands before each script that touches one, so that
-- they are read and written here and nowhere else.
--
--   hash <prefix>:@lock:...   daemon -> "mode fence expiry"; mode x or s, expiry in ms of this
--                             Redis' clock
--                             "@last" -> "- fence expiry": the highest fence of leases that have
--                             ended

local function text(number)
  return string.format('%.0f', number)
end

local function now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function now_ms()
  return math.floor(now_us() / 1000)
end

local function lease_write(key, id, mode, fence, expiry)
  redis.call('HSET', key, id, mode .. ' ' .. text(fence) .. ' ' .. text(expiry))
end

-- mode, fence and expiry; nothing when it is none, or over.
local function lease_read(value, now)
  local mode, fence, expiry = string.match(value, '^(%S+) (%d+) (%d+)$')
  fence, expiry = tonumber(fence), tonumber(expiry)
  if expiry and expiry > now then return mode, fence, expiry end
end
