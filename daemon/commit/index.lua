-- index: puts the entries that documents have in the indexes of their models right (indexes.h), by what
-- Redis holds of them in this moment, whoever has written it.
--
--   KEYS  their root hashes
--   ARGV  what to do; the prefix of all keys; then for each: its model, what is indexed of it, its pk
--
--   leave   takes out what the document has, before it is changed; but notes what is unique of it, which
--           is looked for until the document has another value (unit.lua)
--   enter   takes out what was noted and is not so any more, puts in what it has, after that; and notes
--           it, if the document will end by itself
--   settle  enters it, if it is there
--
-- Who does it twice changes nothing. Returns how many entries were put in that were missing. An index of
-- which a key is spoilt is noted as such, and the document has all others.

local MAX, HEAD, TAIL, ELEMENTS = 128, 64, 48, 1000
local NULL = '\192'

local todo, prefix = ARGV[1], ARGV[2]
local state = prefix .. ':@index'
local added = 0

local function cut(text, sign)
  if #text <= MAX then return text end
  if sign == '^' then return string.sub(text, 1, MAX) end
  return string.sub(text, 1, HEAD) .. '#' .. #text .. '#' .. string.sub(text, -TAIL)
end

local function call(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then return nil end
  return reply
end

-- One value: the entry it means, if it means one.
local function add(out, index, value, element)
  local path, sign, digits = index[1], index[2], index[3]
  if sign == '=' then
    value = value or NULL
    if value == '-0' then value = '0' end
  elseif not value or value == NULL then
    return
  end
  if digits and sign == '<' then value = string.gsub(value, '[^%d.]', '') end
  out[#out + 1] = path .. sign .. cut(value, sign) .. (element or '')
end

-- What is in a list, set or dict; nil: too much to look at.
local function elements_of(key, index)
  local n = call(index[6], key) or 0
  if n > ELEMENTS then return nil end
  if index[5] == 'LRANGE' then return call('LRANGE', key, 0, -1) or {} end
  return call(index[5], key) or {}
end

-- A pk as it stands in the name of a key (path.h).
local escapes = {['{'] = '{7b', ['}'] = '{7d', ['/'] = '{2f'}
local function escaped(pk) return (string.gsub(pk, '[{}/]', escapes)) end

local function add_elements(out, root, index)
  local found = elements_of(root .. index[4], index)
  if not found then
    out[#out + 1] = index[1] .. '*'
    return
  end
  for _, one in ipairs(found) do
    if index[7] then
      local value = call('HGET', root .. index[4] .. '/' .. escaped(one), index[7]) or index[8]
      add(out, index, value, index[2] == '<' and '\0' .. one)
    else
      add(out, index, one)
    end
  end
end

-- Nil: there is no such document.
local function entries_of(root, indexes)
  local names = {'@s'}
  for _, index in ipairs(indexes) do
    if not index[4] then names[#names + 1] = index[7] end
  end
  local values, at, out = call('HMGET', root, unpack(names)), 1, {}
  if not values or not values[1] then return nil end
  for _, index in ipairs(indexes) do
    if index[4] then
      add_elements(out, root, index)
    else
      at = at + 1
      add(out, index, values[at] or index[8])
    end
  end
  return out
end

local function put(model, pk, entry, remove)
  local path, sign, text = string.match(entry, '^([^=<^*]+)([=<^*])(.*)$')
  local key, reply = state .. ':' .. model .. '/' .. path .. sign, nil
  if sign == '=' or sign == '*' then
    key = key .. text
    reply = redis.pcall(remove and 'SREM' or 'SADD', key, pk)
  elseif sign == '<' then
    local score, element = string.match(text, '^(%Z*)(.*)$')
    if remove then
      reply = redis.pcall('ZREM', key, pk .. element)
    else
      reply = redis.pcall('ZADD', key, score, pk .. element)
    end
  elseif remove then
    reply = redis.pcall('ZREM', key, text .. '\0' .. pk)
  else
    reply = redis.pcall('ZADD', key, 0, text .. '\0' .. pk)
  end
  if type(reply) == 'table' and reply.err then
    call('HSET', state, model .. '/' .. path .. (sign == '*' and '=' or sign), '!' .. key)
  elseif not remove then
    added = added + reply
  end
end

local function put_all(model, pk, entries, remove)
  for _, entry in ipairs(entries) do put(model, pk, entry, remove) end
end

-- What is left when it has ended by itself is taken out by this.
local function note(model, root, pk, entries, left)
  local notes, now = state .. ':' .. model, redis.call('TIME')
  call('HSET', notes, pk, cmsgpack.pack(entries))
  call('ZADD', notes .. '/@ttl', now[1] * 1000 + math.floor(now[2] / 1000) + left, pk)
end

local function forget(model, pk)
  call('HDEL', state .. ':' .. model, pk)
  call('ZREM', state .. ':' .. model .. '/@ttl', pk)
end

local function noted(model, pk)
  local packed = call('HGET', state .. ':' .. model, pk)
  return packed and cmsgpack.unpack(packed)
end

-- Those of unique fields, and the others.
local function parted(entries, indexes)
  local unique, kept, others = {}, {}, {}
  for _, index in ipairs(indexes) do
    if index[9] then unique[index[1]] = true end
  end
  for _, entry in ipairs(entries) do
    local path, sign = string.match(entry, '^([^=<^*]+)([=<^*])')
    local to = sign == '=' and unique[path] and kept or others
    to[#to + 1] = entry
  end
  return kept, others
end

local doing = {
  leave = function(model, root, pk, entries, indexes)
    local kept, others = parted(entries or noted(model, pk) or {}, indexes)
    put_all(model, pk, others, true)
    if #kept > 0 then call('HSET', state .. ':' .. model, pk, cmsgpack.pack(kept)) end
  end,
  enter = function(model, root, pk, entries)
    local is = {}
    for _, entry in ipairs(entries or {}) do is[entry] = true end
    for _, entry in ipairs(noted(model, pk) or {}) do
      if not is[entry] then put(model, pk, entry, true) end
    end
    put_all(model, pk, entries or {})
    local left = entries and redis.call('PTTL', root) or -1
    if left >= 0 then note(model, root, pk, entries, left) else forget(model, pk) end
  end,
}
doing.settle = doing.enter

local known = {}
for i, root in ipairs(KEYS) do
  local model, spec, pk = ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2]
  known[spec] = known[spec] or cmsgpack.unpack(spec)
  doing[todo](model, root, pk, entries_of(root, known[spec]), known[spec])
end
return added
