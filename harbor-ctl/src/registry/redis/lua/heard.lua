-- ARGV: app host, EPOCH:SEQ, milliseconds of its lease or ''.
local refusal = fence()
if refusal then return refusal end
redis.call('ZCARD', leases)
local held = field(app_hosts, ARGV[3], 41)
if not held or held < ARGV[4] then redis.call('HSET', app_hosts, ARGV[3], ARGV[4]) end
if ARGV[5] ~= '' then
  redis.call('ZADD', leases, string.format('%d', now_ms() + tonumber(ARGV[5])), ARGV[3])
end
return 1
