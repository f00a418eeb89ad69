-- whole_loop: a batch of nothing but units (batch.h), as one script, which Redis knows by its hash.
--
--   KEYS  1: the marker    then one for each check
--   ARGV  the number of the batch; how many messages there are; channel and text of each; the units, as in
--         unit.lua
--
-- What is answered is what EXEC would answer to SET, the call of unit.lua and each PUBLISH. An error in
-- place of that says that nothing was done: the first command is the only one that may fail it.

local function whole(checks, functions)
  local set = redis.pcall('SET', KEYS[1], ARGV[1])
  if set.err then return set end
  local units = 3 + 2 * ARGV[2]
  local ok, replies = pcall(carry_out, checks, functions, units)
  if not ok and type(replies) ~= 'table' then replies = {err = tostring(replies)} end
  local out = {set, replies}
  for i = 3, units - 1, 2 do out[#out + 1] = redis.pcall('PUBLISH', ARGV[i], ARGV[i + 1]) end
  return out
end
