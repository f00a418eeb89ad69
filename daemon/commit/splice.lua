-- splice: a list without `count` of its elements from `from` on, and with `value`, if there is one,
-- in their place: Redis has no insertion or removal by index. Done on a copy of the tail.

local function splice(key, from, count, value)
  local tail = redis.call('LRANGE', key, from + count, -1)
  redis.call('LTRIM', key, 0, from - 1)
  if value then redis.call('RPUSH', key, value) end
  for i = 1, #tail, 1000 do
    redis.call('RPUSH', key, unpack(tail, i, math.min(i + 999, #tail)))
  end
  return redis.call('LLEN', key)
end
