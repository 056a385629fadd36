local refusal = fence()
if refusal then return refusal end
redis.call('ZADD', seen, now_ms(), ARGV[1])
if is_swollen() then redis.call('DEL', changes) end
redis.pcall('XTRIM', announce, 'MAXLEN', '~', 10000)
return 1
