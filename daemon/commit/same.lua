-- same: whether two values of a unique field are one.
local function same(value, text)
  return value == text or (value == '-0' and text == '0') or (value == '0' and text == '-0')
end
