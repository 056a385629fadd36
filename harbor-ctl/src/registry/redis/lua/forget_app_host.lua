local refusal = fence()
if refusal then return refusal end
redis.call('HDEL', app_hosts, ARGV[3])
redis.call('ZREM', leases, ARGV[3])
return 1
