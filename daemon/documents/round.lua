-- round: the commands of a round, for a Redis that is full and takes no MULTI, or with commands that
-- Redis does not know. ARGV: each with the number of its words before it. A command's error is in its
-- place.
--
-- LEVEL key how stride value n (command name) * n find ...: the elements of a container whose pks
-- `find key ...` answers, and of each its hash and what the n commands say of the keys below it. how:
-- "all": each stride-th word, from value on, is a pk; "one": the answer is; "at": the word behind find
-- is, if there is an answer; "among": the last word is, if it is in the answer, which is then not told.
local function level(from, to)
  local key, how, n = ARGV[from], ARGV[from + 1], tonumber(ARGV[from + 4])
  local find = from + 5 + 2 * n
  local last = how == 'among' and to - 1 or to
  local found = redis.pcall(ARGV[find], key, unpack(ARGV, find + 1, last))
  local pks, content = {}, {}
  if how == 'at' and type(found) == 'number' then
    pks[1] = ARGV[find + 1]
  elseif how == 'one' and type(found) == 'string' then
    pks[1] = found
  elseif how == 'among' and type(found) == 'table' and not found.err then
    local pk, place = ARGV[to], false
    for i = 1, #found do
      if found[i] == pk then place = i end
    end
    found, pks[1] = place, place and pk or nil
  elseif how == 'all' and type(found) == 'table' then
    for i = tonumber(ARGV[from + 3]), #found, tonumber(ARGV[from + 2]) do pks[#pks + 1] = found[i] end
  end
  for _, pk in ipairs(pks) do
    local element = key .. '/' .. escaped(pk)
    content[#content + 1] = redis.pcall('HGETALL', element)
    for i = from + 5, find - 1, 2 do
      content[#content + 1] = redis.pcall(ARGV[i], element .. ARGV[i + 1])
    end
  end
  return {found, content}
end
local replies, at = {}, 1
while at <= #ARGV do
  local words = tonumber(ARGV[at])
  if ARGV[at + 1] == 'LEVEL' then
    replies[#replies + 1] = level(at + 2, at + words)
  else
    replies[#replies + 1] = redis.pcall(unpack(ARGV, at + 1, at + words))
  end
  at = at + words + 1
end
return replies
