-- ARGV: seconds, if any, that a rest lasts at the longest from now on.
local refusal = fence()
if refusal then return refusal end
local now = math.floor(now_ms() / 1000)
if ARGV[3] then
  local latest = string.format('%d', now + tonumber(ARGV[3]))
  for _, number in ipairs(redis.call('ZRANGE', resting, '(' .. latest, '+inf', 'BYSCORE', 'LIMIT', 0, RECORDS)) do
    redis.call('ZADD', resting, latest, number)
  end
end
return redis.call('ZREMRANGEBYSCORE', resting, '-inf', now)
