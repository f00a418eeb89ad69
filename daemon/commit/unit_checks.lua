-- unit_checks: what units rely upon that is more than versions (unit.lua, whole.lua).

local function lease(key, field, want)
  local value = value_of(key, field)
  local found = value and lease_read(value)
  return found and found.fence == tonumber(want)
end

local function hexadecimal(text)
  return (string.gsub(text, '.', function(c) return string.format('%02x', string.byte(c)) end))
end

-- No other document that the index names for the value has it. Else who: "=", and its pk.
local function unique(key, field, want)
  local head, own, text, other = unpack(cmsgpack.unpack(want))
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
      if not is.err and is[1] and same(is[2], text, other) then return false, '=' .. hexadecimal(pk) end
    end
  end
  return true
end
