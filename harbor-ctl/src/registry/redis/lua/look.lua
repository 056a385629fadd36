-- ARGV: the number of the last change seen, how many at once, the last announcement heard ('': none yet), milliseconds to
-- look back if none. One script a round: what has changed, and what app hosts have said.

-- Places are of this server's clock alone: that of a node may be wrong by years. A text: why it cannot be read.
local function heard(place, back)
  if place == '' then place = string.format('%d-0', now_ms() - tonumber(back)) end
  local found = redis.pcall('XRANGE', announce, '(' .. place, '+', 'COUNT', ARGV[4])
  if found.err then return found.err end
  local answer = {}
  for _, entry in ipairs(found) do
    place = entry[1]
    local text = entry[2][2]
    if #text > ANNOUNCE_LIMIT then text = '' end
    table.insert(answer, { entry[1], text })
  end
  return { place, answer }
end

local answer = { field(meta, 'incarnation', 64) or '', field(meta, 'seq', 20) or '', field(tokens, ARGV[1], 64) or '', {},
  silence(ARGV[1]), field(meta, 'pools', 20) or '', heard(ARGV[5], ARGV[6]) }
-- Something else lies in the stream: it is not read, which looks like a gap, and the beat removes it.
if is_swollen() then return answer end
for _, entry in ipairs(redis.call('XRANGE', changes, '(' .. ARGV[3] .. '-0', '+', 'COUNT', ARGV[4])) do
  local id = entry[2][2]
  if #id > 64 then id = '' end
  -- An empty record is one that is wrong, not one that is gone.
  local size = redis.call('HEXISTS', services, id) == 1 and redis.call('HSTRLEN', services, id) or -1
  local record = (size > 0 and field(services, id, RECORD_LIMIT)) or ''
  table.insert(answer[4], { entry[1], id, record, size })
end
return answer
