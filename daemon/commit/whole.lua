-- whole: with all that a unit may need (whole_loop.lua).

return whole({version = version, present = present, lease = lease, unique = unique}, {splice = splice, follow = follow})
