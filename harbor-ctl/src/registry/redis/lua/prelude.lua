-- KEYS: as drawn in keys.rs. ARGV[1]: the node, ARGV[2]: the token of its agent.
local meta, services, numbers, resting, app_hosts, leases, nodes, tokens, seen, drained, buried, changes, announce, pools =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14]
local RECORD_LIMIT, RECORDS, TOTAL_LIMIT = 131072, 140000, 67108864
local ANNOUNCE_LIMIT, CHANGES_KEPT, CHANGES_SIZE, BURIED_KEPT = 16384, 4096, 4194304, 10000
local GUARD_LIMIT = 60000
local POOLS, POOL_LIMIT, KEEPER_MS = 1000, 65536, 3000

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- A field that is not longer than it may be; a 100 MB value never leaves the server.
local function field(key, name, limit)
  local size = redis.call('HSTRLEN', key, name)
  if size == 0 or size > limit then return false end
  return redis.call('HGET', key, name)
end

local function fence()
  local held = field(tokens, ARGV[1], 64)
  if not held then return redis.error_reply('STRANGER the registry does not know this node') end
  if held ~= ARGV[2] then return redis.error_reply('FENCED another agent has taken this node over') end
end

-- For how many milliseconds nobody has said that a node lives. What was heard in the future was heard by a
-- clock that was wrong: it counts from now on, and whoever lives says so again.
local function silence(node)
  local heard, now = redis.pcall('ZSCORE', seen, node), now_ms()
  if type(heard) ~= 'string' then return '' end
  if tonumber(heard) > now then redis.pcall('ZADD', seen, now, node) end
  return string.format('%d', math.max(0, math.min(now - tonumber(heard), 2592000000)))
end

-- Tells the others that a service has changed. Called before the change: what may fail fails here.
local function note(id)
  local seq = redis.pcall('HINCRBY', meta, 'seq', 1)
  if type(seq) ~= 'number' then
    seq = now_ms()
    redis.call('HSET', meta, 'seq', string.format('%d', seq))
  end
  local entry = string.format('%d-0', seq)
  local added = redis.pcall('XADD', changes, 'MAXLEN', CHANGES_KEPT, entry, 'id', id)
  if type(added) == 'table' and added.err then
    redis.call('DEL', changes)
    redis.call('XADD', changes, entry, 'id', id)
  end
end

-- Remembers that a service was deleted on purpose: one that is missing otherwise was lost.
local function bury(id)
  redis.pcall('ZADD', buried, now_ms(), id)
  redis.pcall('ZREMRANGEBYRANK', buried, 0, -BURIED_KEPT - 1)
end

local function is_free(number, id)
  local owner = field(numbers, number, 64)
  return not owner or owner == id
end

local function revision(record)
  local ok, service = pcall(cjson.decode, record)
  if not ok or type(service) ~= 'table' then return 0 end
  return tonumber(service.revision) or 0
end

-- Whether the stream of changes holds more than its own short entries.
local function is_swollen()
  local size = redis.call('MEMORY', 'USAGE', changes, 'SAMPLES', 0)
  return size and size > CHANGES_SIZE
end
