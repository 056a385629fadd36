local refusal = fence()
if refusal then return refusal end
redis.call('HDEL', nodes, ARGV[3])
redis.call('ZREM', seen, ARGV[3])
redis.call('SREM', drained, ARGV[3])
redis.call('HDEL', tokens, ARGV[3])
return 1
