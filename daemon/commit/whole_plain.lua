-- whole_plain: with what most units need (whole_loop.lua): each use makes all functions of a script anew.

return whole({version = version, present = present}, {follow = follow})
