-- index_check: whether the indexes of a model hold what their documents do; changes nothing but where it is
-- to repair. ARGV: what to look at, how the keys of all indexes begin, then
--
--   documents  KEYS: root hashes. For each its model, what is indexed of it, its pk. Returns how many
--              documents and entries there are, how many of these are missing, or have another score.
--   key        KEYS: one of the index. Its model, what is indexed of that, where the page begins, how many
--              to look at, "repair" or "", "tags" where these count. Returns where the next page begins ("0": there is none), how
--              many were looked at, how many are of no document that is so (taken out), whether the key
--              is spoilt, and whether it is of no index that there is (removed, both of them; a spoilt one
--              of a cluster only when its index is noted as such, which is in another slot).

local known = {}
local prefix = string.match(state, '^(.*):@index')

-- The root hash of a pk; where tags count one stands in front (names.h).
local function root_of(model, pk)
  local tag, rest = string.match(pk, '^{([^}]+)}(.*)$')
  if tag and ARGV[8] == 'tags' then
    return prefix .. ':{' .. escaped(tag) .. '}' .. model .. ':' .. escaped(rest)
  end
  return prefix .. ':{' .. escaped(model .. ':' .. pk) .. '}'
end

local function indexes_in(spec)
  known[spec] = known[spec] or cmsgpack.unpack(spec)
  return known[spec]
end

local function is_there(key, member, score)
  if not score then return call('SISMEMBER', key, member) == 1 end
  local found = call('ZSCORE', key, member)
  return found and tonumber(found) == tonumber(score)
end

local function documents()
  local n, looked, missing = 0, 0, 0
  for i = 1, (#ARGV - 2) / 3 do
    local root = KEYS[i]
    local model, indexes, pk = ARGV[3 * i], indexes_in(ARGV[3 * i + 1]), ARGV[3 * i + 2]
    local entries = entries_of(root, indexes)
    n = n + (entries and 1 or 0)
    for _, entry in ipairs(entries or {}) do
      looked = looked + 1
      if not is_there(place_of(model, pk, entry)) then missing = missing + 1 end
    end
  end
  return {n, looked, missing}
end

-- Whether such a key belongs to an index, and to which kind.
local function sign_of(name, indexes)
  local path, sign = string.match(name, '^([^=<^*]+)([=<^*])')
  for _, index in ipairs(indexes) do
    if index[1] == path and (index[2] == sign or (sign == '*' and index[5])) then return sign, path end
  end
end

local function remove(key, model, path, sign)
  if ARGV[7] ~= 'repair' or (path and string.sub(state, -1) == '}') then return end
  redis.call('UNLINK', key)
  if path then redis.call('HSET', state, model .. '/' .. path .. (sign == '*' and '=' or sign), '!' .. key) end
end

local function pk_of(member, sign)
  if sign == '<' then return string.match(member, '^(%Z*)') end
  if sign == '^' then return string.match(member, '%z(%Z*)$') or '' end
  return member
end

-- What of a document is under this key: members with their scores.
local function own_of(model, pk, indexes, key)
  local own = {}
  for _, entry in ipairs(entries_of(root_of(model, pk), indexes) or {}) do
    local at, member, score = place_of(model, pk, entry)
    if at == key then own[member] = score or '' end
  end
  return own
end

local function look_at_key()
  local key, model, indexes, at = KEYS[1], ARGV[3], indexes_in(ARGV[4]), ARGV[5]
  local head = state .. ':' .. model
  local name, kind = string.sub(key, #head + 2), redis.call('TYPE', key).ok
  local sign, path = sign_of(name, indexes)
  local want = (key == head and 'hash') or ((name == '@ttl' or sign == '<' or sign == '^') and 'zset')
    or (sign and 'set')
  if kind == 'none' then return {'0', 0, 0, 0, 0} end
  if not want then
    remove(key, model)
    return {'0', 0, 0, 0, 1}
  end
  if kind ~= want then
    remove(key, model, path, sign)
    return {'0', 0, 0, 1, 0}
  end
  if not sign then return {'0', 0, 0, 0, 0} end
  local page = redis.call(want == 'set' and 'SSCAN' or 'ZSCAN', key, at, 'COUNT', ARGV[6])
  local owns, looked, strays = {}, 0, 0
  for i = 1, #page[2], want == 'set' and 1 or 2 do
    local member = page[2][i]
    local pk = pk_of(member, sign)
    owns[pk] = owns[pk] or own_of(model, pk, indexes, key)
    looked = looked + 1
    local score = owns[pk][member]
    if not score then
      strays = strays + 1
      if ARGV[7] == 'repair' then redis.call(want == 'set' and 'SREM' or 'ZREM', key, member) end
    end
  end
  return {page[1], looked, strays, 0, 0}
end

return ARGV[1] == 'documents' and documents() or look_at_key()
