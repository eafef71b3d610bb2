-- Messages in an event loop with poll(2): a channel, a pattern and a sharded channel.
-- Run as: luajit subscribe.lua redis://127.0.0.1:7000  (or the URL in RDC_URL)
local ffi = require("ffi")
local header = assert(io.open(os.getenv("RDC_CDEF") or "/usr/local/include/rediscluster.cdef.h"))
ffi.cdef(header:read("*a"))
header:close()
ffi.cdef([[
  struct pollfd { int fd; short events, revents; };
  int poll(struct pollfd *fds, unsigned long nfds, int timeout_ms);
]])
local rdc = ffi.load(os.getenv("RDC_LIBRARY") or "rediscluster")
local POLLIN, TIMEOUT_MS = 1, 10000

local client = ffi.gc(rdc.rdc_create(arg[1] or os.getenv("RDC_URL")), rdc.rdc_close)
local message = rdc.rdc_client_error(client)
assert(message == nil, message ~= nil and ffi.string(message))
local subscriber = ffi.gc(rdc.rdc_subscriber_new(client), rdc.rdc_subscriber_free)

local function words(...)
  local n = select("#", ...)
  local argv, lens = ffi.new("const char *[?]", n, ...), ffi.new("size_t[?]", n)
  for i = 1, n do lens[i - 1] = #select(i, ...) end
  return n, argv, lens
end
local function text(reply)
  local str = rdc.rdc_reply_str(reply)
  return str ~= nil and ffi.string(str, rdc.rdc_reply_len(reply)) or tostring(tonumber(rdc.rdc_reply_int(reply)))
end
-- Frees a reply, and raises its error.
local function check(reply)
  local error = rdc.rdc_reply_error(reply) ~= 0 and text(reply)
  rdc.rdc_reply_free(reply)
  assert(not error, error)
end
-- Neither function waits for a confirmation or a message.
local function subscribe(...) check(rdc.rdc_subscriber_command(subscriber, words(...))) end
local function publish(...) check(rdc.rdc_command(client, words(...))) end

-- Takes the pushes that are there, and calls a function with the elements of each.
local function take(each)
  while true do
    local reply = ffi.gc(rdc.rdc_subscriber_next(subscriber, 0), rdc.rdc_reply_free)
    local kind = rdc.rdc_reply_type(reply)
    if kind == rdc.RDC_NIL then return end
    if kind == rdc.RDC_ERROR then
      io.stderr:write(text(reply), "\n") -- the library goes on by itself
    else
      local parts = {}
      for i = 0, tonumber(rdc.rdc_reply_len(reply)) - 1 do parts[i + 1] = text(rdc.rdc_reply_at(reply, i)) end
      each(parts)
    end
  end
end

-- Polls the descriptor until this many pushes have come, and returns them as sorted lines.
local readable = ffi.new("struct pollfd[1]", { { rdc.rdc_subscriber_fd(subscriber), POLLIN, 0 } })
local function receive(count)
  local lines = {}
  while #lines < count do
    assert(ffi.C.poll(readable, 1, TIMEOUT_MS) > 0, "nothing was received in time")
    take(function(parts)
      if parts[1] == "gap" then -- messages of this channel may have been missed: read the state again
        io.stderr:write("gap of ", parts[3], ": ", parts[4], "\n")
      else
        lines[#lines + 1] = table.concat(parts, " ")
      end
    end)
  end
  table.sort(lines)
  return table.concat(lines, "\n")
end

subscribe("SUBSCRIBE", "news")
subscribe("PSUBSCRIBE", "n*")
subscribe("SSUBSCRIBE", "orders") -- on the node of its slot
receive(3)
publish("PUBLISH", "news", "hello")
publish("SPUBLISH", "orders", "42")
print(receive(3))
subscribe("UNSUBSCRIBE", "news")
subscribe("PUNSUBSCRIBE", "n*")
subscribe("SUNSUBSCRIBE", "orders")
receive(3)
print("unsubscribed")
