-- declare: stores the declaration of a model, if it is still the one that was read, as a new revision
-- of all of them, and tells the other daemons. KEYS: the hash of all declarations. ARGV: the model, its
-- declaration as it was read ("": none), the new one, the channel of all daemons, what to say there.
-- Returns the revision, 0: it is not the one that was read.
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.pcall('PUBLISH', ARGV[4], ARGV[5])
return redis.call('HINCRBY', KEYS[1], '@rev', 1)
