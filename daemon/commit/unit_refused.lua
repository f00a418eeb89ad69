-- unit_refused: what is said of a unit that was not applied.

-- Who hears of the batch is to know that this was no part of it, its daemon as well: [daemon, [the marker]].
-- Before all that PUBLISH says at the end of the transaction. Without the right to it nothing is said there,
-- either.
local function tell_refused()
  local prefix, daemon, tag = string.match(KEYS[1], '^(.*):~seq:([^{]*)(.*)$')
  local message = cmsgpack.pack({daemon, {redis.call('GET', KEYS[1])}})
  if tag ~= '' then
    redis.pcall('SPUBLISH', prefix .. ':@changes' .. tag, message)
    return
  end
  redis.pcall('PUBLISH', prefix .. ':@changes', message)
  redis.pcall('PUBLISH', prefix .. ':@own:' .. daemon, message)
end
