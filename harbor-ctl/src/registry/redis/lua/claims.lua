-- ARGV: pairs of share and node, as ID:NODE. Answers for each how many milliseconds ago the node spoke of it, and what it said.
local answer, now = {}, now_ms()
for i = 3, #ARGV do
  local heard, said = string.match(field(meta, 'share:' .. ARGV[i], 64) or '', '^(%d+) (%a*)$')
  if heard then
    table.insert(answer, { string.format('%d', math.max(0, now - tonumber(heard))), said })
  else
    table.insert(answer, { '', '' })
  end
end
return answer
