-- unit_loop: how the units of a call are carried out (unit.lua, unit_plain.lua, whole.lua).

-- Whether it holds, and what is there instead, where that is of use. A key that is no hash has nothing of
-- what has to be there.
local function value_of(key, field)
  local value = redis.pcall('HGET', key, field) or ''
  return type(value) ~= 'table' and value or nil
end

local function version(key, field, want)
  local value = value_of(key, field)
  local found = value == '' and '0' or value
  return found == want, found
end

local function present(key, field, want)
  return (tonumber(value_of(key, field)) or 0) >= tonumber(want)
end

local function run(functions, first, last)
  local own = functions[ARGV[first]]
  if not own then return redis.pcall(unpack(ARGV, first, last)) end
  local ok, reply = pcall(own, unpack(ARGV, first + 1, last))
  if not ok and type(reply) ~= 'table' then reply = {err = tostring(reply)} end
  return reply
end

-- By the checks and functions that are known, by their names. `at`: where the units begin in ARGV.
local function carry_out(checks, functions, at)
  local out, key = {}, 1
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
        local ok, found = checks[ARGV[at]](KEYS[key + i], ARGV[at + 1], ARGV[at + 2])
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
      replies[#replies + 1] = run(functions, at + 1, at + words)
      at = at + words + 1
    end
    at = stop
    out[#out + 1] = refused and redis.status_reply(refused) or replies
  end
  return out
end
