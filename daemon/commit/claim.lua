-- claim: a unique value for a document (claims.h).
--
--   KEYS  1: of the value: "epoch pk", whose it is
--   ARGV  the pk, and the epoch of its slot in which it may be given the value; what may be taken over, if that is
--         still what stands there
--
-- Returns 1: it is the document's. What stands there: it is not. 0: something that is no claim.
-- Who asks twice is answered alike.

local pk, epoch, over = unpack(ARGV)
local is = redis.pcall('GET', KEYS[1])
if type(is) == 'table' then return 0 end
if is and is ~= over then
  local at, of = string.match(is, '^(%d+) (.*)$')
  if not at or #at > 15 then return 0 end -- more digits than a number of Lua has
  if of ~= pk then return is end
  if tonumber(at) >= tonumber(epoch) then return 1 end
end
redis.call('SET', KEYS[1], epoch .. ' ' .. pk)
return 1
