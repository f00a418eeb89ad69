-- declare: stores the declarations of models, if they are still those that were read, as a new revision
-- of all of them, and tells the other daemons. KEYS: the hash of all declarations, that of the states of
-- indexes. ARGV: the channel of all daemons, what to say there; of each model its name, its declaration as
-- it was read ("": none), the new one, and its indexes, each with the state of one that has all documents:
-- those of a new model have. Returns the revision, 0: they are not those that were read.
for i = 3, #ARGV, 4 do
    if (redis.call('HGET', KEYS[1], ARGV[i]) or '') ~= ARGV[i + 1] then return 0 end
end
for i = 3, #ARGV, 4 do
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    local states = cmsgpack.unpack(ARGV[i + 3])
    if ARGV[i + 1] == '' and #states > 0 then redis.call('HSET', KEYS[2], unpack(states)) end
end
redis.pcall('PUBLISH', ARGV[1], ARGV[2])
return redis.call('HINCRBY', KEYS[1], '@rev', 1)
