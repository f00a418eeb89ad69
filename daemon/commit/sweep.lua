-- sweep: deletes what a batch put into a document that was removed meanwhile, unless somebody has
-- written it since. KEYS: its root hash, its other keys. ARGV: the version that the batch left.
if redis.call('HGET', KEYS[1], '@v') ~= ARGV[1] then return 0 end
for i = 1, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
return 1
