-- unit: changes that are applied together or not at all (unit.h).
--
--   KEYS  1: the marker    then one for each check
--   ARGV  for each unit: its number; how many checks earlier calls had; how many there are now; how
--         many words its commands take
--         three words for each check: kind, the hash field to look at, what has to be there (of a unique
--         value, packed: how the root hashes of the model begin, the pk, the value)
--         the commands, each with the number of its words before it
--
-- A unit that was begun in an earlier call goes by the marker. A key that is no hash has nothing of
-- what has to be there. Within a script no command undoes another's failure: each one's error is in
-- its place, as in a MULTI.

-- Whether it holds, and what is there instead, where that is of use.
local checks = {
  version = function(value, want)
    local found = value == '' and '0' or value
    return found == want, found
  end,
  present = function(value, want)
    return (tonumber(value) or 0) >= tonumber(want)
  end,
  lease = function(value, want)
    local lease = lease_read(value)
    return lease and lease.fence == tonumber(want)
  end,
}

-- A pk as it stands in the name of a key (path.h).
local escapes = {['{'] = '{7b', ['}'] = '{7d', ['/'] = '{2f'}
local function escaped(pk) return (string.gsub(pk, '[{}/]', escapes)) end

local function hexadecimal(text)
  return (string.gsub(text, '.', function(c) return string.format('%02x', string.byte(c)) end))
end

local function same(value, text)
  return value == text or (value == '-0' and text == '0') or (value == '0' and text == '-0')
end

-- No other document that the index names for the value has it. Else who: "=", and its pk.
local function unique(key, field, want)
  local head, own, text = unpack(cmsgpack.unpack(want))
  local named = redis.pcall('SMEMBERS', key)
  if named.err then
    local prefix = string.match(KEYS[1], '^(.*):~seq:')
    local name = string.match(string.sub(key, #prefix + 9), '^[^=]*=')
    redis.pcall('HSET', prefix .. ':@index', name, '!' .. key) -- to be built anew, as in index.lua
    return false, '='
  end
  for _, pk in ipairs(named) do
    if pk ~= own then
      local is = redis.pcall('HMGET', head .. escaped(pk) .. '}', '@s', field)
      if not is.err and is[1] and same(is[2], text) then return false, '=' .. hexadecimal(pk) end
    end
  end
  return true
end

local function holds(kind, key, field, want)
  if kind == 'unique' then return unique(key, field, want) end
  local value = redis.pcall('HGET', key, field) or ''
  if type(value) == 'table' then return false end
  return checks[kind](value, want)
end

local functions = {splice = splice, follow = follow}

local function run(first, last)
  local own = functions[ARGV[first]]
  if not own then return redis.pcall(unpack(ARGV, first, last)) end
  local ok, reply = pcall(own, unpack(ARGV, first + 1, last))
  if not ok and type(reply) ~= 'table' then reply = {err = tostring(reply)} end
  return reply
end

-- Who hears of the batch is to know that this was no part of it, its daemon as well: [daemon, [the marker]].
-- Before all that PUBLISH says at the end of the transaction. Without the right to it nothing is said there,
-- either.
local function tell_refused()
  local prefix, daemon = string.match(KEYS[1], '^(.*):~seq:(.*)$')
  local message = cmsgpack.pack({daemon, {redis.call('GET', KEYS[1])}})
  redis.pcall('PUBLISH', prefix .. ':@changes', message)
  redis.pcall('PUBLISH', prefix .. ':@own:' .. daemon, message)
end

local out, at, key = {}, 1, 1
while ARGV[at] do
  local unit, before, nchecks = ' ' .. ARGV[at] .. '/', tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local stop = at + 4 + 3 * nchecks + tonumber(ARGV[at + 3])
  local replies, refused = {}, nil
  at = at + 4
  if before > 0 and string.find(redis.call('GET', KEYS[1]) or '', unit, 1, true) then
    refused = 'REFUSED'
  end
  for i = 1, nchecks do
    if not refused then
      local ok, found = holds(ARGV[at], KEYS[key + i], ARGV[at + 1], ARGV[at + 2])
      if not ok then
        redis.call('APPEND', KEYS[1], unit .. before + i .. (string.match(found or '', '^=.*') or ''))
        tell_refused()
        refused = 'REFUSED ' .. before + i .. ' ' .. (found or '-1')
      end
    end
    at = at + 3
  end
  key = key + nchecks
  while not refused and at < stop do
    local words = tonumber(ARGV[at])
    replies[#replies + 1] = run(at + 1, at + words)
    at = at + words + 1
  end
  at = stop
  out[#out + 1] = refused and redis.status_reply(refused) or replies
end
return out
