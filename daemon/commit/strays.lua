-- strays: deletes what a batch put into elements that others had removed before: nothing leads there.
-- KEYS: the root hash of the document, keys within its elements, which the batch may have made.
--
-- Names of containers and pks take turns in a key (layout.h): each container has to hold the pk behind
-- it. What is spoilt, or too long to look for it, is left alone.

local LIST_MAX, HASH_MAX = 500000, 20000 -- some 10 ms

local characters = {['7b'] = '{', ['7d'] = '}', ['2f'] = '/'}
local function unescaped(pk) return (string.gsub(pk, '{(..)', characters)) end

local function holds(container, pk)
  local kind = redis.call('TYPE', container).ok
  if kind == 'list' then
    return redis.call('LLEN', container) > LIST_MAX or redis.call('LPOS', container, pk)
  elseif kind ~= 'hash' then
    return kind ~= 'none'
  end
  if redis.call('HLEN', container) > HASH_MAX then return true end
  for _, value in ipairs(redis.call('HVALS', container)) do
    if value == pk then return true end
  end
  return false
end

local function is_led_to(suffix)
  local at = KEYS[1]
  for container, pk in string.gmatch(suffix, '(/[^/]+)/([^/]+)') do
    if not holds(at .. container, unescaped(pk)) then return false end
    at = at .. container .. '/' .. pk
  end
  return true
end

local n = 0
for i = 2, #KEYS do
  if not is_led_to(string.sub(KEYS[i], #KEYS[1] + 1)) then n = n + redis.call('UNLINK', KEYS[i]) end
end
return n
