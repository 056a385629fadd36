-- ARGV: facts, a new incarnation, the schema, milliseconds without new ports if it is a new one.
local schema = tonumber(field(meta, 'schema', 8) or ARGV[5])
if schema and schema > tonumber(ARGV[5]) then return redis.error_reply('SCHEMA ' .. schema) end
redis.call('ZADD', seen, now_ms(), ARGV[1])
if redis.call('HSETNX', meta, 'incarnation', ARGV[4]) == 1 then
  redis.call('HSET', meta, 'schema', ARGV[5], 'guard', string.format('%d', now_ms() + ARGV[6]))
  redis.call('HSETNX', meta, 'seq', '0')
end
redis.call('HSET', tokens, ARGV[1], ARGV[2])
redis.call('HSET', nodes, ARGV[1], ARGV[3])
return field(meta, 'incarnation', 64)
