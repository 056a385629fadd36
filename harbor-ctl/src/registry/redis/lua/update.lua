-- ARGV: id, new record, the revision that its writer saw.
local refusal = fence()
if refusal then return refusal end
if redis.call('HEXISTS', services, ARGV[3]) == 0 then return redis.error_reply('MISSING no such service') end
-- What cannot be read has no revision: its owner may put it right.
local held = field(services, ARGV[3], RECORD_LIMIT)
if held == ARGV[4] then return 0 end
local found = held and revision(held) or 0
if found ~= 0 and found ~= tonumber(ARGV[5]) then return redis.error_reply('CHANGED by somebody else') end
note(ARGV[3])
redis.call('HSET', services, ARGV[3], ARGV[4])
return 1
