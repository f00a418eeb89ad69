-- follow_one: outside of a unit. KEYS: the root, then the others.
return follow(unpack(KEYS))
