-- unit_plain: the same as unit.lua, without what few units need: Redis hashes and compiles a script each
-- time that it is sent, so the commits that most changes are get a short one.

return carry_out({version = version, present = present}, {follow = follow}, 1)
