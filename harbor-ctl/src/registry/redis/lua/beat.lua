-- ARGV: how many pools this node is one of, their names, then for each share that it may have: id, and "h" if it has it, "p"
-- if it has a part of it, "r" if it could. Answers the pools that it keeps.
local refusal = fence()
if refusal then return refusal end
redis.call('ZADD', seen, now_ms(), ARGV[1])
if is_swollen() then redis.call('DEL', changes) end
redis.pcall('XTRIM', announce, 'MAXLEN', '~', 10000)
-- For each of these pools one of its nodes does what has to be done once.
local kept, now = {}, now_ms()
for i = 4, 3 + tonumber(ARGV[3] or '0') do
  local key = 'keeper:' .. ARGV[i]
  local node, ends = string.match(field(meta, key, 128) or '', '^(%S+) (%d+)$')
  ends = tonumber(ends)
  -- Later than anybody asks for is what a clock that was ahead has left.
  if not node or node == ARGV[1] or ends <= now or ends > now + KEEPER_MS then
    redis.call('HSET', meta, key, ARGV[1] .. ' ' .. string.format('%d', now + KEEPER_MS))
    table.insert(kept, ARGV[i])
  end
end
for i = 4 + tonumber(ARGV[3] or '0'), #ARGV - 1, 2 do
  redis.call('HSET', meta, 'share:' .. ARGV[i] .. ':' .. ARGV[1], string.format('%d', now) .. ' ' .. ARGV[i + 1])
end
return kept
