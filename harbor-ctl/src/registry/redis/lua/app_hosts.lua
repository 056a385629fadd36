if redis.call('HLEN', app_hosts) > 10000 then return redis.error_reply('OVERFULL more than 10000 app hosts') end
local answer, now = {}, now_ms()
for _, dea in ipairs(redis.call('HKEYS', app_hosts)) do
  if #dea <= 64 then
    local ends = redis.call('ZSCORE', leases, dea)
    local left = ends and string.format('%d', math.max(0, math.min(tonumber(ends) - now, 2592000000))) or ''
    table.insert(answer, { dea, field(app_hosts, dea, 41) or '', left })
  end
end
return answer
