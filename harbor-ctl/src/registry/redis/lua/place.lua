-- Puts services where they were. ARGV: "all" or "each", then for each service: id, record, its
-- revision, how many numbers, the numbers. "all" changes nothing if one of them cannot be placed.
local refusal = fence()
if refusal then return refusal end
local wanted, failed, i = {}, {}, 4
while i <= #ARGV do
  local one = { id = ARGV[i], record = ARGV[i + 1], revision = tonumber(ARGV[i + 2]), numbers = {} }
  for n = 1, tonumber(ARGV[i + 3]) do one.numbers[n] = ARGV[i + 3 + n] end
  i = i + 4 + #one.numbers
  local held = field(services, one.id, RECORD_LIMIT)
  local is_newer = held and revision(held) >= one.revision
  for _, number in ipairs(one.numbers) do
    if not is_free(number, one.id) then one.taken = number end
  end
  if ARGV[3] == 'all' and held and held ~= one.record then
    table.insert(failed, { one.id, 'its service exists' })
  elseif one.taken and not is_newer then
    table.insert(failed, { one.id, 'port ' .. one.taken .. ' is assigned to another service' })
  elseif not is_newer then
    table.insert(wanted, one)
  end
end
if ARGV[3] == 'all' and #failed > 0 then return failed end
for _, one in ipairs(wanted) do
  local free = true
  for _, number in ipairs(one.numbers) do free = free and is_free(number, one.id) end
  if free then
    note(one.id)
    for _, number in ipairs(one.numbers) do
      redis.call('HSET', numbers, number, one.id)
      redis.call('ZREM', resting, number)
    end
    redis.pcall('ZREM', buried, one.id)
    redis.call('HSET', services, one.id, one.record)
  else
    table.insert(failed, { one.id, 'its number is assigned to another service' })
  end
end
return failed
