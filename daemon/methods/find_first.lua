-- find_first: the documents that are in each of some sets, where Redis has that in no time.
--
--   KEYS  the sets
--   ARGV  how many documents are a page
--
-- Nil: more than a page, or the smallest set is too big; find.lua has them page by page then.

local MAX = 2000 -- entries of the smallest: SINTER looks for each of them in the others

local least = math.huge
for _, key in ipairs(KEYS) do least = math.min(least, redis.call('SCARD', key)) end
if least > MAX then return false end
local found = redis.call('SINTER', unpack(KEYS))
return #found <= tonumber(ARGV[1]) and found
