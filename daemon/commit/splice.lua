-- splice: takes `count` elements out of a list from `from` on (0: none), and puts `value`, if there
-- is one, in there: Redis has no insertion or removal by index. What is cheapest: the elements of the
-- shorter side are taken off and put back, or the place is named by the marker for a moment, a long
-- random word that no element is, and found by Redis. It looks at an element about twenty times
-- faster than a script copies it.

-- What an element costs when it is copied and when it is replaced, for which Redis walks to it.
local COPY, SET, WALK = 20, 10, 0.001

local function push(command, key, elements)
  for i = 1, #elements, 1000 do
    redis.call(command, key, unpack(elements, i, math.min(i + 999, #elements)))
  end
end

local function splice_tail(key, from, count, value)
  local tail = redis.call('LRANGE', key, from + count, -1)
  redis.call('LTRIM', key, 0, from - 1)
  if value then redis.call('RPUSH', key, value) end
  push('RPUSH', key, tail)
end

local function splice_head(key, from, count, value)
  local head, back = redis.call('LRANGE', key, 0, from - 1), {}
  for i = #head, 1, -1 do back[#back + 1] = head[i] end
  redis.call('LTRIM', key, from + count, -1)
  if value then redis.call('LPUSH', key, value) end
  push('LPUSH', key, back)
end

local function splice_at_marker(key, from, count, value, marker, from_tail)
  if value then
    local there = redis.call('LINDEX', key, from)
    redis.call('LSET', key, from, marker)
    redis.call('LINSERT', key, 'BEFORE', marker, value)
    redis.call('LSET', key, from + 1, there)
    return
  end
  for i = from, from + count - 1 do redis.call('LSET', key, i, marker) end
  redis.call('LREM', key, from_tail and -count or count, marker)
end

local function splice(key, from, count, marker, value)
  local len = redis.call('LLEN', key)
  from = tonumber(from)
  count = math.min(tonumber(count), len - from)
  local head, tail = from, len - from - count
  -- Only LREM also searches from the tail.
  local near = math.min(head, tail)
  local search = value and head or (SET + WALK * near) * count + near
  if tail <= 0 or COPY * tail <= math.min(search, COPY * head) then
    splice_tail(key, from, math.max(count, 0), value)
  elseif COPY * head <= search then
    splice_head(key, from, count, value)
  else
    splice_at_marker(key, from, count, value, marker, tail < head)
  end
  return redis.call('LLEN', key)
end
