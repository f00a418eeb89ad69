-- purge: removes keys of a document that is deleted already, but for its root hash, which says so and
-- goes last. Whoever would make it anew waits for that.
-- KEYS: its root hash, others of its keys. ARGV: "root" when there are no more keys.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' or redis.call('HEXISTS', KEYS[1], '@d') == 0 then
  return 0
end
if #KEYS > 1 then redis.call('UNLINK', unpack(KEYS, 2)) end
if ARGV[1] then redis.call('UNLINK', KEYS[1]) end
return 1
