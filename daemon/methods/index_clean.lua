-- index_clean: removes the keys of an index that no model declares any more, some of them in each call.
--
--   KEYS  the hash of the states of indexes, that of all declarations
--   ARGV  its name there; by which revision of the declarations it is none; the pattern of its keys; a
--         cursor; then, if its model has no other, the keys that all of its indexes share
--
-- Returns the cursor of the next call, "0": that was all; "": the declarations are others by now.
if (redis.call('HGET', KEYS[2], '@rev') or '0') ~= ARGV[2] then return '' end
local page = redis.call('SCAN', ARGV[4], 'MATCH', ARGV[3], 'COUNT', 1000)
for _, key in ipairs(page[2]) do redis.call('UNLINK', key) end
if page[1] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  for i = 5, #ARGV do redis.call('UNLINK', ARGV[i]) end
end
return page[1]
