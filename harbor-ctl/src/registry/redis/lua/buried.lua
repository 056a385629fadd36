-- ARGV: ids. Answers those that somebody deleted.
local answer = {}
for i = 3, #ARGV do
  if type(redis.pcall('ZSCORE', buried, ARGV[i])) == 'string' then table.insert(answer, ARGV[i]) end
end
return answer
