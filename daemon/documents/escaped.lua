-- escaped: a pk as it stands in the name of a key (path.h).
local escapes = {['{'] = '{7b', ['}'] = '{7d', ['/'] = '{2f'}
local function escaped(pk) return (string.gsub(pk, '[{}/]', escapes)) end
