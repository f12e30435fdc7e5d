"""What the queue does inside of Redis, as Lua: each script is one step that happens as a whole.

All keys begin with one base whose hash tag keeps them in one slot of a Redis Cluster:

| key | what it is |
| --- | --- |
| `:s:{lane}` | stream of the lane's messages, with the one consumer group `w`; gone when it is empty |
| `:lanes` | lanes that have a stream, by the turn in which they were served last |
| `:turn` | the last turn |
| `:due` | ids of messages that are put off, by when they are due (ms) |
| `:held` | what those hold |
| `:counts` | messages by lane |
| `:bytes` | what they count, by lane and, summed up, by tenant |
| `:dead` | stream of what was buried |
| `:epoch` | a random text that says that this is still the same data |
| `:sent:{id}` | the message was stored; kept for as long as its sender may send it again for want of an answer |

A lease is a pending entry of the group; it is over when the entry was idle for as long. The delivery count, which each
claim raises, tells the holder from an earlier one. Times are Redis' own, so that receivers need not agree on theirs.

A lane without messages has no bytes, whatever was counted: that is made so when a lane gets empty, and when it begins
anew. So what a process of a version that counts none has taken out is not counted for ever.

Redis 7 or newer, or Valkey.
"""

_ALLOW_OOM = "#!lua flags=allow-oom"
"""A server that is full has to let messages out, and what was put off become due."""

_COMMON = """
local base = KEYS[1]
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function stream_of(lane) return base .. ':s:' .. lane end
local function add(lane, id, body, at)
  local stream = stream_of(lane)
  if redis.call('EXISTS', stream) == 0 then
    redis.call('XGROUP', 'CREATE', stream, 'w', '0', 'MKSTREAM')
  end
  redis.call('XADD', stream, '*', 'id', id, 'body', body, 'at', at)
  if not redis.call('ZSCORE', base .. ':lanes', lane) then
    redis.call('ZADD', base .. ':lanes', redis.call('GET', base .. ':turn') or 0, lane)
  end
end
local function pending(lane, entry)
  local stream = stream_of(lane)
  if redis.call('EXISTS', stream) == 0 then return nil end
  return redis.call('XPENDING', stream, 'w', entry, entry, 1)[1]
end
local function is_held(lane, entry, deliveries)
  local found = pending(lane, entry)
  return found and found[4] == tonumber(deliveries)
end
local function take_out(lane, entry)
  local stream = stream_of(lane)
  redis.call('XACK', stream, 'w', entry)
  redis.call('XDEL', stream, entry)
  if redis.call('XLEN', stream) == 0 then
    redis.call('DEL', stream)
    redis.call('ZREM', base .. ':lanes', lane)
  end
end
local function tenant_of(lane) return string.match(lane, '^[^/]*') end
local function bytes_of(lane_or_tenant) return tonumber(redis.call('HGET', base .. ':bytes', lane_or_tenant) or 0) end
local function count_bytes(lane, change)
  change = math.max(change, -bytes_of(lane))
  if change == 0 then return end
  for _, field in ipairs({lane, tenant_of(lane)}) do
    if redis.call('HINCRBY', base .. ':bytes', field, change) <= 0 then
      redis.call('HDEL', base .. ':bytes', field)
    end
  end
end
local function uncount(lane, size)
  if redis.call('HINCRBY', base .. ':counts', lane, -1) <= 0 then
    redis.call('HDEL', base .. ':counts', lane)
    size = bytes_of(lane)
  end
  count_bytes(lane, -size)
end
local function put_off(lane, id, body, at, due)
  redis.call('HSET', base .. ':held', id, cmsgpack.pack({lane, body, at}))
  redis.call('ZADD', base .. ':due', due, id)
end
"""

SEND = (
    _COMMON
    + """
-- lane, id, body, delay (ms), limit of the lane, limit of the tenant (bytes), what the message counts, how long its
-- sender may send it again (ms).
-- Returns 'stored', 'lane' where that is full, 'tenant' where that is.
local lane, id, body, delay, size = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[7])
local sent = base .. ':sent:' .. id
if redis.call('EXISTS', sent) == 1 then return 'stored' end
local messages = tonumber(redis.call('HGET', base .. ':counts', lane) or 0)
if messages >= tonumber(ARGV[5]) then return 'lane' end
if messages == 0 then count_bytes(lane, -bytes_of(lane)) end
if bytes_of(tenant_of(lane)) + size > tonumber(ARGV[6]) then return 'tenant' end
local now = now_ms()
redis.call('HINCRBY', base .. ':counts', lane, 1)
count_bytes(lane, size)
if delay > 0 then put_off(lane, id, body, now, now + delay) else add(lane, id, body, now) end
redis.call('SET', sent, '', 'PX', ARGV[8])
return 'stored'
"""
)

RECEIVE = (
    _ALLOW_OOM
    + _COMMON
    + """
-- limit, lease (ms), epoch if there is none, then lanes and tenants to leave out.
-- Returns the epoch, and for each message: lane, entry, deliveries, id, body, at.
local limit, lease = tonumber(ARGV[1]), tonumber(ARGV[2])
local without = {}
for i = 4, #ARGV do without[ARGV[i]] = true end
redis.call('SET', base .. ':epoch', ARGV[3], 'NX')
local now = now_ms()
for _, id in ipairs(redis.call('ZRANGEBYSCORE', base .. ':due', '-inf', now, 'LIMIT', 0, 100)) do
  local packed = redis.call('HGET', base .. ':held', id)
  redis.call('ZREM', base .. ':due', id)
  redis.call('HDEL', base .. ':held', id)
  if packed then
    local message = cmsgpack.unpack(packed)
    add(message[1], id, message[2], message[3])
  end
end
local function fields_of(entry)
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  return fields
end
local function take(lane)
  local stream = stream_of(lane)
  if redis.call('EXISTS', stream) == 0 then
    redis.call('ZREM', base .. ':lanes', lane)
    return nil
  end
  local lost = redis.call('XPENDING', stream, 'w', 'IDLE', lease, '-', '+', 1)[1]
  if lost then
    local entry = redis.call('XCLAIM', stream, 'w', 'w', lease, lost[1])[1]
    if entry then return entry, lost[4] + 1 end
  end
  local read = redis.call('XREADGROUP', 'GROUP', 'w', 'w', 'COUNT', 1, 'STREAMS', stream, '>')
  if read then return read[1][2][1], 1 end
  return nil
end
local found = {}
-- A lane that was looked at goes to the end, served or not, so that each has its turn however many there are.
local lanes = redis.call('ZRANGE', base .. ':lanes', 0, 255)
local is_first = true
while #lanes > 0 and #found < limit do
  local served = {}
  for _, lane in ipairs(lanes) do
    if #found >= limit then break end
    if is_first then redis.call('ZADD', base .. ':lanes', redis.call('INCR', base .. ':turn'), lane) end
    if not (without[lane] or without[tenant_of(lane)]) then
      local entry, deliveries = take(lane)
      if entry then
        local fields = fields_of(entry)
        table.insert(found, {lane, entry[1], deliveries, fields['id'], fields['body'], fields['at']})
        table.insert(served, lane)
      end
    end
  end
  lanes, is_first = served, false
end
return {redis.call('GET', base .. ':epoch'), found}
"""
)

EXTEND = (
    _ALLOW_OOM
    + _COMMON
    + """
-- lane, entry, deliveries
if not is_held(ARGV[1], ARGV[2], ARGV[3]) then return 0 end
redis.call('XCLAIM', stream_of(ARGV[1]), 'w', 'w', 0, ARGV[2], 'JUSTID')
return 1
"""
)

ACK = (
    _ALLOW_OOM
    + _COMMON
    + """
-- lane, entry, deliveries, what the message counts
if not is_held(ARGV[1], ARGV[2], ARGV[3]) then return 0 end
take_out(ARGV[1], ARGV[2])
uncount(ARGV[1], tonumber(ARGV[4]))
return 1
"""
)

RETRY = (
    _ALLOW_OOM
    + _COMMON
    + """
-- lane, entry, deliveries, what the message counted until now, id, body, at, delay (ms), what it counts with this body
local lane, delay = ARGV[1], tonumber(ARGV[8])
if not is_held(lane, ARGV[2], ARGV[3]) then return 0 end
take_out(lane, ARGV[2])
count_bytes(lane, tonumber(ARGV[9]) - tonumber(ARGV[4]))
if delay > 0 then
  put_off(lane, ARGV[5], ARGV[6], ARGV[7], now_ms() + delay)
else
  add(lane, ARGV[5], ARGV[6], ARGV[7])
end
return 1
"""
)

BURY = (
    _ALLOW_OOM
    + _COMMON
    + """
-- lane, entry, deliveries, what the message counts, id, body, at, reason, how many are kept
if not is_held(ARGV[1], ARGV[2], ARGV[3]) then return 0 end
take_out(ARGV[1], ARGV[2])
uncount(ARGV[1], tonumber(ARGV[4]))
redis.call('XADD', base .. ':dead', 'MAXLEN', '~', ARGV[9], '*',
  'id', ARGV[5], 'lane', ARGV[1], 'body', ARGV[6], 'at', ARGV[7], 'reason', ARGV[8])
return 1
"""
)

DEPTH = (
    _COMMON
    + """
-- Returns waiting, delayed, leased, dead, and when the oldest was sent. Looks at no more lanes than a thousand.
local stored, leased, oldest = 0, 0, false
for _, lane in ipairs(redis.call('ZRANGE', base .. ':lanes', 0, 999)) do
  local stream = stream_of(lane)
  if redis.call('EXISTS', stream) == 1 then
    stored = stored + redis.call('XLEN', stream)
    leased = leased + redis.call('XPENDING', stream, 'w')[1]
    local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    if first then
      for i = 1, #first[2], 2 do
        if first[2][i] == 'at' then
          local at = tonumber(first[2][i + 1])
          if not oldest or at < oldest then oldest = at end
        end
      end
    end
  end
end
return {stored - leased, redis.call('ZCARD', base .. ':due'), leased, redis.call('XLEN', base .. ':dead'),
  oldest and string.format('%d', oldest) or ''}
"""
)
