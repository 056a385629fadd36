-- ARGV: the last announcement heard ('': none yet), how many at once, milliseconds to look back if none.
-- Places are of this server's clock alone: that of a node may be wrong by years.
local place = ARGV[3]
if place == '' then place = string.format('%d-0', now_ms() - tonumber(ARGV[5])) end
local answer = {}
for _, entry in ipairs(redis.call('XRANGE', announce, '(' .. place, '+', 'COUNT', ARGV[4])) do
  place = entry[1]
  local text = entry[2][2]
  if #text > ANNOUNCE_LIMIT then text = '' end
  table.insert(answer, { entry[1], text })
end
return { place, answer }
