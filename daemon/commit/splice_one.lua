-- splice_one: a splice outside of a unit. KEYS: the list. ARGV: from, count, marker, value?
return splice(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
