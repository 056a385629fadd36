-- ARGV: id, record, whether rests count; the limits of all services, of an organization and of a space
-- (0: none), what records of this organization and space contain; then the numbers.
local function used_up()
  local all, of_organization, of_space = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
  if all > 0 and redis.call('HLEN', services) >= all then return 'ports' end
  if ARGV[9] == '' or of_organization + of_space == 0 then return end
  local organization, space = 0, 0
  for _, record in ipairs(redis.call('HVALS', services)) do
    if string.find(record, ARGV[9], 1, true) then
      organization = organization + 1
      if string.find(record, ARGV[10], 1, true) then space = space + 1 end
    end
  end
  if of_organization > 0 and organization >= of_organization then return 'ports_per_organization' end
  if of_space > 0 and space >= of_space then return 'ports_per_space' end
end

local refusal = fence()
if refusal then return refusal end
local known = field(services, ARGV[3], RECORD_LIMIT)
if known then return known end
if redis.call('SISMEMBER', drained, ARGV[1]) == 1 then
  return redis.error_reply('DRAINED this node takes no new ports')
end
local limit = used_up()
if limit then return redis.error_reply('QUOTA ' .. limit) end
local now = now_ms()
local guarded = (tonumber(field(meta, 'guard', 20) or '0') or 0) - now
-- Longer than nodes ask for is what a clock that was ahead has left.
if guarded > 0 and guarded <= GUARD_LIMIT then
  return redis.error_reply('YOUNG the registry is new: nodes put their ports back first')
end
for i = 11, #ARGV do
  local rests = redis.call('ZSCORE', resting, ARGV[i])
  local is_resting = ARGV[5] == 'respected' and rests and tonumber(rests) > now / 1000
  if is_resting or not is_free(ARGV[i], ARGV[3]) then return redis.error_reply('TAKEN ' .. ARGV[i]) end
end
note(ARGV[3])
for i = 11, #ARGV do
  redis.call('HSET', numbers, ARGV[i], ARGV[3])
  redis.call('ZREM', resting, ARGV[i])
end
redis.pcall('ZREM', buried, ARGV[3])
redis.call('HSET', services, ARGV[3], ARGV[4])
return ARGV[4]
