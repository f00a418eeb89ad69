-- same: whether a value of a unique field is that of a text, or of its other one: a zero has two.
local function same(value, text, other)
  return value == text or value == other
end
