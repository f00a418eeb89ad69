-- index_drop: stores the declaration of a model without an index, if it is still the one that was read, as a
-- new revision of all of them, and tells the other daemons. KEYS: the hash of all declarations, that of the
-- states of indexes. ARGV: the channel of all daemons, what to say there, the model, its declaration as it
-- was read, the new one, then the names of indexes that are no more: their keys are to be removed
-- (indexer.h), and nobody asks them any more. Returns the revision, 0: it is not the one that was read.
if redis.call('HGET', KEYS[1], ARGV[3]) ~= ARGV[4] then return 0 end
redis.call('HSET', KEYS[1], ARGV[3], ARGV[5])
for i = 6, #ARGV do redis.call('HSET', KEYS[2], ARGV[i], '-') end
redis.pcall('PUBLISH', ARGV[1], ARGV[2])
return redis.call('HINCRBY', KEYS[1], '@rev', 1)
