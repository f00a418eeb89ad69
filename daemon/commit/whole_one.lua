-- whole_one: a batch of one unit that relies upon one version and has nothing but commands of Redis, which are most.
-- What is asked and answered is as in whole_loop.lua; it is written out, as a function that is made, called or looked
-- up takes Lua as long as half a command takes Redis.

local call = redis.pcall
local set = call('SET', KEYS[1], ARGV[1])
if set.err then return set end
local unit = 3 + 2 * ARGV[2]

local ok, replies = pcall(function()
  local found = call('HGET', KEYS[2], ARGV[unit + 5]) or '0'
  if found ~= ARGV[unit + 6] then
    call('APPEND', KEYS[1], ' ' .. ARGV[unit] .. '/1')
    tell_refused()
    return redis.status_reply('REFUSED 1 ' .. (type(found) == 'string' and found or '-1'))
  end
  local out, n, at = {}, 0, unit + 7
  local words = ARGV[at]
  while words do
    n = n + 1
    out[n] = call(unpack(ARGV, at + 1, at + words))
    at = at + words + 1
    words = ARGV[at]
  end
  return out
end)
if not ok and type(replies) ~= 'table' then replies = {err = tostring(replies)} end
if ok then replies = {replies} end

local out = {set, replies}
for i = 3, unit - 1, 2 do out[#out + 1] = call('PUBLISH', ARGV[i], ARGV[i + 1]) end
return out
