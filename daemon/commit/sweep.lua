-- sweep: deletes what a batch put into a document that was removed meanwhile, and what others have put
-- there since: they found no document either, unless somebody has made one: that has a revision.
-- KEYS: its root hash, others of its keys. ARGV: "root" when there are no more keys, and the root
-- hash goes too.
if redis.call('HEXISTS', KEYS[1], '@s') == 1 then return 0 end
for i = ARGV[1] and 1 or 2, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
return 1
