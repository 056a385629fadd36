-- ARGV: id, record, whether rests count, then the numbers.
local refusal = fence()
if refusal then return refusal end
local known = field(services, ARGV[3], RECORD_LIMIT)
if known then return known end
if redis.call('SISMEMBER', drained, ARGV[1]) == 1 then
  return redis.error_reply('DRAINED this node takes no new ports')
end
local now = now_ms()
if now < (tonumber(field(meta, 'guard', 20) or '0') or 0) then
  return redis.error_reply('YOUNG the registry is new: nodes put their ports back first')
end
for i = 6, #ARGV do
  local rests = redis.call('ZSCORE', resting, ARGV[i])
  local is_resting = ARGV[5] == 'respected' and rests and tonumber(rests) > now / 1000
  if is_resting or not is_free(ARGV[i], ARGV[3]) then return redis.error_reply('TAKEN ' .. ARGV[i]) end
end
note(ARGV[3])
for i = 6, #ARGV do
  redis.call('HSET', numbers, ARGV[i], ARGV[3])
  redis.call('ZREM', resting, ARGV[i])
end
redis.call('HSET', services, ARGV[3], ARGV[4])
return ARGV[4]
