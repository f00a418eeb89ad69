-- claim_release: takes a claim away from a document that has the value no more (claims.h).
--
--   KEYS  1: of the value
--   ARGV  the pk; the epoch from which on it may have been given the value again

local is = redis.pcall('GET', KEYS[1])
local at, of
if type(is) == 'string' then at, of = string.match(is, '^(%d+) (.*)$') end
if of ~= ARGV[1] or tonumber(at) >= tonumber(ARGV[2]) then return 0 end
return redis.call('UNLINK', KEYS[1])
