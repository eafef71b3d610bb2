-- The same as loop.lua in the event loop of cqueues, whose coroutines wait for descriptors, conditions and time.
-- Run as: luajit loop_cqueues.lua redis://127.0.0.1:7000  (or the URL in RDC_URL)
local ffi = require("ffi")
local cqueues = require("cqueues")
local condition = require("cqueues.condition")
local header = assert(io.open(os.getenv("RDC_CDEF") or "/usr/local/include/rediscluster.cdef.h"))
ffi.cdef(header:read("*a"))
header:close()
local rdc = ffi.load(os.getenv("RDC_LIBRARY") or "rediscluster")

local client = ffi.gc(rdc.rdc_create(arg[1] or os.getenv("RDC_URL")), rdc.rdc_close)
local message = rdc.rdc_client_error(client)
assert(message == nil, message ~= nil and ffi.string(message))
local queue = rdc.rdc_queue_new(client)
local loop = cqueues.new()
local calls, last = {}, 0 -- the calls in progress, by tag

local found = ffi.new("uint64_t[1]")
local function take_replies()
  while true do
    local reply = rdc.rdc_queue_next(queue, found)
    if reply == nil then return end
    local tag, str = tonumber(found[0]), rdc.rdc_reply_str(reply)
    local call = calls[tag]
    calls[tag] = nil
    call.text = str ~= nil and ffi.string(str, rdc.rdc_reply_len(reply)) or nil
    call.error = ffi.string(rdc.rdc_error_name(rdc.rdc_reply_error(reply)))
    call.sent = rdc.rdc_reply_sent(reply) == 1 and "sent" or "not sent"
    call.complete = true
    rdc.rdc_reply_free(reply)
    call.changed:signal()
  end
end

-- One coroutine waits for the descriptor while commands are in flight.
local is_driven = false
local function drive()
  is_driven = true
  while next(calls) do
    cqueues.poll({ pollfd = rdc.rdc_queue_fd(queue), events = "r" })
    rdc.rdc_queue_run(queue, 0) -- sends and receives what it can, without waiting
    take_replies()
  end
  is_driven = false
end

-- Runs a command, for at most some seconds if `seconds` is a number.
local function limited(seconds, ...)
  local n = select("#", ...)
  local argv, lens = ffi.new("const char *[?]", n, ...), ffi.new("size_t[?]", n)
  for i = 1, n do lens[i - 1] = #select(i, ...) end
  last = last + 1
  local tag, call = last, { changed = condition.new() }
  rdc.rdc_queue_command(queue, tag, n, argv, lens)
  calls[tag] = call
  if not is_driven then loop:wrap(drive) end
  while not call.complete do
    if not call.changed:wait(seconds) then
      rdc.rdc_queue_cancel(queue, tag) -- the descriptor becomes readable: the reply is an error
      seconds = nil
    end
  end
  return call.text, call.error, call.sent
end
local function command(...) return limited(nil, ...) end

-- A hundred coroutines. The commands of all are in flight together, and leave as one batch for each shard.
local sum, ticks, printed = 0, 0, {}
for i = 0, 99 do
  loop:wrap(function()
    command("SET", "cqueues:" .. i, tostring(i))
    local value = command("GET", "cqueues:" .. i)
    sum = sum + tonumber(value)
  end)
end
loop:wrap(function()
  command("SET", "cqueues:text", "x")
  local text = command("LPUSH", "cqueues:text", "x")
  printed[1] = "error: " .. text:match("^%S+")
  local _, error, sent = limited(0.2, "BLPOP", "cqueues:none", "0")
  printed[2] = "cancelled: " .. error .. ", " .. sent
end)
loop:wrap(function()
  for i = 1, 10 do
    cqueues.sleep(0.01)
    ticks = i
  end
end)
assert(loop:loop())
print("values: " .. sum)
print(table.concat(printed, "\n"))
print("timer: " .. (ticks == 10 and "ran" or "did not run") .. " while commands were in flight")
loop:close() -- before rdc_queue_free() closes the descriptor
rdc.rdc_queue_free(queue)
