-- round: the commands of a round, for a Redis that is full and takes no MULTI. ARGV: each with the
-- number of its words before it. A command's error is in its place.
local replies, at = {}, 1
while at <= #ARGV do
  local words = tonumber(ARGV[at])
  replies[#replies + 1] = redis.pcall(unpack(ARGV, at + 1, at + words))
  at = at + words + 1
end
return replies
