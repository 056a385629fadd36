-- ARGV: name, record ('': removes it), the revision that its writer saw (0: there is none), and "change", or "back" for
-- one that was lost: then whatever is newer stays.
local refusal = fence()
if refusal then return refusal end
local held = field(pools, ARGV[3], POOL_LIMIT)
local found = held and revision(held) or 0
if ARGV[6] == 'back' then
  if held and found >= tonumber(ARGV[5]) then return 0 end
elseif held ~= ARGV[4] and found ~= tonumber(ARGV[5]) then
  return redis.error_reply('CHANGED by somebody else')
end
redis.call('HINCRBY', meta, 'pools', 1)
if ARGV[4] == '' then redis.call('HDEL', pools, ARGV[3]) else redis.call('HSET', pools, ARGV[3], ARGV[4]) end
return 1
