-- sweep: deletes what a batch put into a document that was removed meanwhile, unless somebody has
-- written it since. KEYS: its root hash, others of its keys. ARGV: the version that the batch left;
-- "root" when there are no more keys, and the root hash goes too.
if redis.call('HGET', KEYS[1], '@v') ~= ARGV[1] then return 0 end
for i = ARGV[2] and 1 or 2, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
return 1
