-- follow: gives keys of a document the deadline that its root has, if it has one.
local function follow(root, ...)
  local left = redis.call('PTTL', root)
  if left < 0 then return 0 end
  for _, key in ipairs({...}) do redis.call('PEXPIRE', key, left) end
  return 1
end
