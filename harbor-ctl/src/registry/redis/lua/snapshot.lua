-- Everything at one moment.
if redis.call('HLEN', services) > RECORDS or redis.call('ZCARD', resting) > RECORDS then
  return redis.error_reply('OVERFULL more records than there are ports')
end
local answer = { field(meta, 'incarnation', 64) or '', field(meta, 'seq', 20) or '', {}, {} }
local total = 0
for _, id in ipairs(redis.call('HKEYS', services)) do
  if #id <= 64 then
    local size = redis.call('HSTRLEN', services, id)
    local record = field(services, id, RECORD_LIMIT) or ''
    total = total + #record
    if total > TOTAL_LIMIT then return redis.error_reply('OVERFULL records of more than 64 MiB') end
    table.insert(answer[3], { id, record, size })
  end
end
local now = math.floor(now_ms() / 1000)
local rests = redis.call('ZRANGE', resting, 0, -1, 'WITHSCORES')
for i = 1, #rests, 2 do
  -- What is left of it: the clock of a node may be another.
  local left = math.max(0, math.min(tonumber(rests[i + 1]) - now, 2592000))
  if #rests[i] <= 16 then table.insert(answer[4], { rests[i], string.format('%d', left) }) end
end
return answer
