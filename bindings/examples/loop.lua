-- Coroutines in an event loop with poll(2): a coroutine waits for its reply, and the others run.
-- Run as: luajit loop.lua redis://127.0.0.1:7000  (or the URL in RDC_URL)
local ffi = require("ffi")
local header = assert(io.open(os.getenv("RDC_CDEF") or "/usr/local/include/rediscluster.cdef.h"))
ffi.cdef(header:read("*a"))
header:close()
ffi.cdef([[
  struct pollfd { int fd; short events, revents; };
  int poll(struct pollfd *fds, unsigned long nfds, int timeout_ms);
  struct timespec { long seconds, nanoseconds; };
  int clock_gettime(int clock, struct timespec *time);
]])
local rdc = ffi.load(os.getenv("RDC_LIBRARY") or "rediscluster")
local POLLIN, CLOCK_MONOTONIC = 1, 1

local client = ffi.gc(rdc.rdc_create(arg[1] or os.getenv("RDC_URL")), rdc.rdc_close)
local message = rdc.rdc_client_error(client)
assert(message == nil, message ~= nil and ffi.string(message))
local queue = rdc.rdc_queue_new(client)
local waiting, timers, last = {}, {}, 0 -- the coroutines, by tag and by timer

local time = ffi.new("struct timespec")
local function now_ms()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, time)
  return tonumber(time.seconds) * 1000 + tonumber(time.nanoseconds) / 1e6
end

local function start(f) assert(coroutine.resume(coroutine.create(f))) end
local function sleep(ms)
  timers[coroutine.running()] = now_ms() + ms
  coroutine.yield()
end

-- Runs a command, and returns its text, its error, and whether it was sent. Nothing is sent before the loop runs the
-- queue.
local function command(...)
  local n = select("#", ...)
  local argv, lens = ffi.new("const char *[?]", n, ...), ffi.new("size_t[?]", n)
  for i = 1, n do lens[i - 1] = #select(i, ...) end
  last = last + 1
  rdc.rdc_queue_command(queue, last, n, argv, lens)
  waiting[last] = coroutine.running()
  return coroutine.yield()
end

-- Runs a command for at most some milliseconds.
local function limited(ms, ...)
  local tag = last + 1
  start(function()
    sleep(ms)
    rdc.rdc_queue_cancel(queue, tag) -- does nothing if the command is complete
  end)
  return command(...)
end

local found = ffi.new("uint64_t[1]")
local function take_replies()
  while true do
    local reply = rdc.rdc_queue_next(queue, found)
    if reply == nil then return end
    local tag, str = tonumber(found[0]), rdc.rdc_reply_str(reply)
    local text = str ~= nil and ffi.string(str, rdc.rdc_reply_len(reply)) or nil
    local error = ffi.string(rdc.rdc_error_name(rdc.rdc_reply_error(reply)))
    local sent = rdc.rdc_reply_sent(reply) == 1 and "sent" or "not sent"
    rdc.rdc_reply_free(reply)
    local co = waiting[tag]
    waiting[tag] = nil
    assert(coroutine.resume(co, text, error, sent)) -- it may submit more: the descriptor is readable again
  end
end

local function run()
  local readable = ffi.new("struct pollfd[1]", { { rdc.rdc_queue_fd(queue), POLLIN, 0 } })
  while next(waiting) or next(timers) do
    local due = math.huge
    for _, at in pairs(timers) do due = math.min(due, at) end
    local pause = due == math.huge and -1 or math.max(0, math.ceil(due - now_ms()))
    if ffi.C.poll(readable, 1, pause) > 0 then
      rdc.rdc_queue_run(queue, 0) -- sends and receives what it can, without waiting
      take_replies()
    end
    local ready = {}
    for co, at in pairs(timers) do if at <= now_ms() then ready[#ready + 1] = co end end
    for _, co in ipairs(ready) do
      timers[co] = nil
      assert(coroutine.resume(co))
    end
  end
end

-- A hundred coroutines. The commands of all are in flight together, and leave as one batch for each shard.
local sum, ticks, printed = 0, 0, {}
for i = 0, 99 do
  start(function()
    command("SET", "lua:" .. i, tostring(i))
    local value = command("GET", "lua:" .. i)
    sum = sum + tonumber(value)
  end)
end
start(function()
  command("SET", "lua:text", "x")
  local text = command("LPUSH", "lua:text", "x")
  printed[1] = "error: " .. text:match("^%S+")
  local _, error, sent = limited(200, "BLPOP", "lua:none", "0")
  printed[2] = "cancelled: " .. error .. ", " .. sent
end)
start(function()
  for i = 1, 10 do
    sleep(10)
    ticks = i
  end
end)
run()
print("values: " .. sum)
print(table.concat(printed, "\n"))
print("timer: " .. (ticks == 10 and "ran" or "did not run") .. " while commands were in flight")
rdc.rdc_queue_free(queue) -- poll(2) keeps nothing of its descriptor
