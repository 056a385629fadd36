-- ARGV: the node to drain, 1 or 0.
local refusal = fence()
if refusal then return refusal end
if redis.call('HEXISTS', nodes, ARGV[3]) == 0 then return 0 end
redis.call(ARGV[4] == '1' and 'SADD' or 'SREM', drained, ARGV[3])
return 1
