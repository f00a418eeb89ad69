-- claim_look: whether a document that has a claim has the value as well, or may be given it (claims.h).
--
--   KEYS  1: its root hash    2: the epoch of its slot
--   ARGV  the hash field, the value, its other text (same), the epoch of the claim; 1: it may not be given it any more
--
-- Returns 1: it has it. 0: a commit that gives it that may be on its way. 2: none can be applied any more. 3: the
-- epoch is none. Behind it the epoch.

local field, text, other, epoch, revoke = unpack(ARGV)
local at = redis.pcall('HGET', KEYS[2], '@v') or '0'
if type(at) == 'table' or not (at == '0' or string.match(at, '^[1-9]%d*$')) or #at > 15 then return {3, 0} end
local now = tonumber(at)
local is = redis.pcall('HMGET', KEYS[1], '@s', field)
if not is.err and is[1] and same(is[2], text, other) then return {1, now} end
if now <= tonumber(epoch) then
  if revoke ~= '1' then return {0, now} end
  now = epoch + 1
  redis.call('HSET', KEYS[2], '@v', now)
end
return {2, now}
