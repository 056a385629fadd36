-- ARGV: id, seconds of rest, then its numbers.
local refusal = fence()
if refusal then return refusal end
bury(ARGV[3])
if redis.call('HEXISTS', services, ARGV[3]) == 0 then return 0 end
redis.call('ZCARD', resting)
local held = {}
for i = 5, #ARGV do
  if field(numbers, ARGV[i], 64) == ARGV[3] then table.insert(held, ARGV[i]) end
end
note(ARGV[3])
for _, number in ipairs(held) do
  redis.call('HDEL', numbers, number)
  if tonumber(ARGV[4]) > 0 then
    redis.call('ZADD', resting, math.floor(now_ms() / 1000) + tonumber(ARGV[4]), number)
  end
end
redis.call('HDEL', services, ARGV[3])
return 1
