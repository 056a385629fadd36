-- Every pool, and the number of the last change of any.
if redis.call('HLEN', pools) > POOLS then return redis.error_reply('OVERFULL more than ' .. POOLS .. ' pools') end
local answer = {}
for _, name in ipairs(redis.call('HKEYS', pools)) do
  if #name <= 64 then table.insert(answer, { name, field(pools, name, POOL_LIMIT) or '' }) end
end
return { field(meta, 'pools', 20) or '', answer }
