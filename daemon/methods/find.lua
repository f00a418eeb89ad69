-- find: a page of what an index has, and of these the documents that other indexes have as well.
--
--   KEYS  the index, then those of the filters (two for each: what may have a document in either; the
--         same twice, if it is one)
--   ARGV  what it is (set, number, text, keys); where the page begins; how many to look at; from and
--         to; "rev" or ""; then for each filter: set or number, from and to
--
-- Returns where the next page begins ("": there is none), how many were looked at, and for each that
-- is left its pk and where a page behind it would begin.

local kind, at, count, from, to, rev = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6] == 'rev'
local key = KEYS[1]

local pages = {}

-- They have no place of their own: who ends in the midst of a page keeps the rest of it.
local function take(page, next_page)
  local out = {}
  for _, pk in ipairs(page) do out[#out + 1] = {pk, ''} end
  return out, next_page ~= '0' and next_page or ''
end

function pages.set()
  local page = redis.call('SSCAN', key, at == '' and '0' or at, 'COUNT', count)
  return take(page[2], page[1])
end

-- As it is, of a pk in the name of a key (path.h).
local function unescaped(pk)
  return (string.gsub(pk, '{(%x%x)', function(x) return string.char(tonumber(x, 16)) end))
end

-- All of a model. KEYS[1]: how their keys begin.
function pages.keys()
  local page = redis.call('SCAN', at == '' and '0' or at, 'MATCH', from, 'COUNT', count, 'TYPE', 'hash')
  local pks = {}
  for _, one in ipairs(page[2]) do
    local pk = string.sub(one, 1, #key) == key and string.match(one, '^([^}/]+)}$', #key + 1)
    if pk then pks[#pks + 1] = unescaped(pk) end
  end
  return take(pks, page[1])
end

-- By their bytes, as Redis does; < goes by the locale.
local function less(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- The rank of the first entry that does not come before "score member". What was there may be elsewhere
-- by now, or gone.
local function rank_of(score, member)
  if redis.call('ZSCORE', key, member) == score then return redis.call('ZRANK', key, member) end
  local low = redis.call('ZCOUNT', key, '-inf', '(' .. score)
  local high = low + redis.call('ZCOUNT', key, score, score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if less(redis.call('ZRANGE', key, middle, middle)[1], member) then low = middle + 1 else high = middle end
  end
  return low
end

-- Behind "score member".
local function behind()
  local score, member = string.match(at, '^(%S+) (.*)$')
  local rank = rank_of(score, member)
  if rev then
    local size = redis.call('ZCARD', key)
    return redis.call('ZREVRANGE', key, size - rank, size - rank + count - 1, 'WITHSCORES')
  end
  local page = redis.call('ZRANGE', key, rank, rank + count, 'WITHSCORES')
  if page[1] == member and page[2] == score then
    table.remove(page, 1)
    table.remove(page, 1)
  else
    page[2 * count + 2], page[2 * count + 1] = nil, nil
  end
  return page
end

local function within(score, low, high)
  return score and (low == '-inf' or tonumber(score) >= tonumber(low))
    and (high == '+inf' or tonumber(score) <= tonumber(high))
end

function pages.number()
  local page
  if at ~= '' then
    page = behind()
  elseif rev then
    page = redis.call('ZREVRANGEBYSCORE', key, to, from, 'WITHSCORES', 'LIMIT', 0, count)
  else
    page = redis.call('ZRANGEBYSCORE', key, from, to, 'WITHSCORES', 'LIMIT', 0, count)
  end
  local out, last = {}, ''
  for i = 1, #page, 2 do
    if not within(page[i + 1], from, to) then return out, '' end
    last = page[i + 1] .. ' ' .. page[i]
    out[#out + 1] = {string.match(page[i], '^(%Z*)'), last}
  end
  return out, #page < 2 * count and '' or last
end

function pages.text()
  local page = redis.call('ZRANGEBYLEX', key, at == '' and from or '(' .. at, to, 'LIMIT', 0, count)
  local out, last = {}, ''
  for _, member in ipairs(page) do
    out[#out + 1], last = {string.match(member, '%z(%Z*)$') or '', member}, member
  end
  return out, #page < count and '' or last
end

local filters = {
  set = function(keys, pks, low, high)
    local a = redis.call('SMISMEMBER', keys[1], unpack(pks))
    local b = keys[2] ~= keys[1] and redis.call('SMISMEMBER', keys[2], unpack(pks))
    return function(i) return a[i] == 1 or (b and b[i] == 1) end
  end,
  number = function(keys, pks, low, high)
    local scores = redis.call('ZMSCORE', keys[1], unpack(pks))
    return function(i) return within(scores[i], low, high) end
  end,
}

local page, next_page = pages[kind]()
local looked = #page
for f = 0, (#KEYS - 1) / 2 - 1 do
  local pks, left = {}, {}
  for i, one in ipairs(page) do pks[i] = one[1] end
  if #pks == 0 then break end
  local has = filters[ARGV[7 + 3 * f]]({KEYS[2 + 2 * f], KEYS[3 + 2 * f]}, pks, ARGV[8 + 3 * f], ARGV[9 + 3 * f])
  for i, one in ipairs(page) do
    if has(i) then left[#left + 1] = one end
  end
  page = left
end
local out = {next_page, looked}
for _, one in ipairs(page) do out[#out + 1], out[#out + 2] = one[1], one[2] end
return out
