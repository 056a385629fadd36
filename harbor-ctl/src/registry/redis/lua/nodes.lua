if redis.call('HLEN', nodes) > 1000 then return redis.error_reply('OVERFULL more than 1000 nodes') end
local answer, now = {}, now_ms()
for _, id in ipairs(redis.call('HKEYS', nodes)) do
  if #id <= 64 then
    local heard = redis.call('ZSCORE', seen, id)
    local ago = heard and string.format('%d', math.max(0, now - tonumber(heard))) or ''
    table.insert(answer, { id, field(nodes, id, 1024) or '', ago, redis.call('SISMEMBER', drained, id) })
  end
end
return answer
