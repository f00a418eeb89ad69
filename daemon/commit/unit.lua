-- unit: changes that are applied together or not at all (unit.h).
--
--   KEYS  1: the marker    then one for each check
--   ARGV  for each unit: its number; how many checks earlier calls had; how many there are now; how
--         many words its commands take
--         three words for each check: kind, the hash field to look at, what has to be there (of a unique
--         value, packed: how the root hashes of the model begin, the pk, the value)
--         the commands, each with the number of its words before it
--
-- A unit that was begun in an earlier call goes by the marker. Within a script no command undoes
-- another's failure: each one's error is in its place, as in a MULTI.

return carry_out({version = version, present = present, lease = lease, unique = unique},
                 {splice = splice, follow = follow}, 1)
