-- check_revoke: no commit with this claim can be applied any more (claims.h), if the document is as it was seen,
-- without the value.
--
--   KEYS  1: its root hash    2: the epoch of its slot
--   ARGV  the hash field; 1: it was there, with the next word; the epoch of the claim
--
-- Returns 1, or 0: it is another one by now.

local is = redis.pcall('HMGET', KEYS[1], '@s', ARGV[1])
local value = not is.err and is[1] and is[2] or nil
if (value and '1' or '0') ~= ARGV[2] or (value and value ~= ARGV[3]) then return 0 end
local at = redis.pcall('HGET', KEYS[2], '@v') or 0
local now = type(at) ~= 'table' and tonumber(at)
if not now then return 0 end
if now <= tonumber(ARGV[4]) then redis.call('HSET', KEYS[2], '@v', ARGV[4] + 1) end
return 1
