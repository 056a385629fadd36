if redis.call('HLEN', nodes) > 1000 then return redis.error_reply('OVERFULL more than 1000 nodes') end
local answer = {}
for _, id in ipairs(redis.call('HKEYS', nodes)) do
  if #id <= 64 then
    table.insert(answer, { id, field(nodes, id, 1024) or '', silence(id), redis.call('SISMEMBER', drained, id) })
  end
end
return answer
