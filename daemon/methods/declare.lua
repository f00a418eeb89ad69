-- declare: stores the declaration of a model, if it is still the one that was read. KEYS: the hash of
-- all declarations. ARGV: the model, its declaration as it was read ("": none), the new one.
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
