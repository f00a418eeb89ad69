-- index: puts the entries that documents have in the indexes of their models right (indexes.h), by what
-- Redis holds of them in this moment, whoever has written it.
--
--   KEYS  their root hashes; in a cluster then one that is never there
--   ARGV  what to do; how the keys of all indexes begin; then for each: its model, what is indexed of it, its pk
--
--   leave   takes out what the document has, before it is changed; but notes what is unique of it, which
--           is looked for until the document has another value (unit.lua)
--   enter   takes out what was noted and is not so any more, puts in what it has, after that; and notes
--           it, if the document will end by itself
--   settle  enters it, if it is there
--
-- Who does it twice changes nothing. Returns how many entries were put in that were missing. An index of
-- which a key is spoilt is noted as such, and the document has all others. In a cluster the states are in
-- another slot: who finds by it notes it, and who settles is told the names instead.

local added, spoilt, is_spoilt = 0, {}, {}
local slotted = string.sub(state, -1) == '}'

local function put(model, pk, entry, remove)
  local key, member, score = place_of(model, pk, entry)
  local reply
  if not score then
    reply = redis.pcall(remove and 'SREM' or 'SADD', key, member)
  elseif remove then
    reply = redis.pcall('ZREM', key, member)
  else
    reply = redis.pcall('ZADD', key, score, member)
  end
  if type(reply) == 'table' and reply.err then
    local path, sign = string.match(entry, '^([^=<^*]+)([=<^*])')
    local name = model .. '/' .. path .. (sign == '*' and '=' or sign)
    if not slotted then
      call('HSET', state, name, '!' .. key)
    elseif not is_spoilt[name] then
      is_spoilt[name] = true
      spoilt[#spoilt + 1] = name
    end
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
for i = 1, (#ARGV - 2) / 3 do
  local root = KEYS[i]
  local model, spec, pk = ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2]
  known[spec] = known[spec] or cmsgpack.unpack(spec)
  doing[ARGV[1]](model, root, pk, entries_of(root, known[spec]), known[spec])
end
if ARGV[1] == 'settle' and #spoilt > 0 then return spoilt end
return added
