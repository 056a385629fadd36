-- ARGV: the last announcement heard, how many at once.
local answer = {}
for _, entry in ipairs(redis.call('XRANGE', announce, '(' .. ARGV[3], '+', 'COUNT', ARGV[4])) do
  local text = entry[2][2]
  if #text > ANNOUNCE_LIMIT then text = '' end
  table.insert(answer, { entry[1], text })
end
return answer
