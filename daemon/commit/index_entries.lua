-- index_entries: which entries a document has in the indexes of its model, by what Redis holds of it, and
-- where they are. ARGV[2] is how the keys of all indexes begin; in a cluster the tag of a slot is in that.

local MAX, HEAD, TAIL, ELEMENTS = 128, 64, 48, 1000
local NULL = '\192'

local state = ARGV[2]
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

-- The key, the member and its score; nil: in a set.
local function place_of(model, pk, entry)
  local path, sign, text = string.match(entry, '^([^=<^*]+)([=<^*])(.*)$')
  local key = state .. ':' .. model .. '/' .. path .. sign
  if sign == '<' then
    local score, element = string.match(text, '^(%Z*)(.*)$')
    return key, pk .. element, score
  end
  if sign == '^' then return key, text .. '\0' .. pk, '0' end
  return key .. text, pk, nil
end
