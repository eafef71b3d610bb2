-- A session in LuaJIT.  Run as: luajit session.lua redis://127.0.0.1:7000  (or the URL in RDC_URL)
local ffi = require("ffi")
local header = assert(io.open(os.getenv("RDC_CDEF") or "/usr/local/include/rediscluster.cdef.h"))
ffi.cdef(header:read("*a"))
header:close()
local rdc = ffi.load(os.getenv("RDC_LIBRARY") or "rediscluster")

-- The garbage collector frees replies and clients.
local function reply(r) return ffi.gc(r, rdc.rdc_reply_free) end
local function client(c)
  c = ffi.gc(c, rdc.rdc_close)
  local message = rdc.rdc_client_error(c)
  assert(message == nil, message ~= nil and ffi.string(message))
  return c
end
-- The text of a reply or of an element, copied, or nil if it has no text.
local function text(r)
  local str = rdc.rdc_reply_str(r)
  return str ~= nil and ffi.string(str, rdc.rdc_reply_len(r)) or nil
end
local function command(c, ...)
  local n = select("#", ...)
  local argv, lens = ffi.new("const char *[?]", n, ...), ffi.new("size_t[?]", n)
  for i = 1, n do lens[i - 1] = #select(i, ...) end
  return reply(rdc.rdc_command(c, n, argv, lens))
end

local rc = client(rdc.rdc_create(arg[1] or os.getenv("RDC_URL")))
print("set: " .. text(reply(rdc.rdc_set(rc, "foo16706", 8, "bar", 3))))
command(rc, "SET", "foo81", "foo")
command(rc, "DEL", "counter")

-- Reads go to primaries and replicas. A replica may lag behind its primary: repeat until it has the key.
local readonly = client(rdc.rdc_readonly(rc))
local value
repeat value = text(reply(rdc.rdc_get(readonly, "foo16706", 8))) until value
print("readonly get: " .. value)

local pipeline = ffi.gc(rdc.rdc_pipeline_new(rc), rdc.rdc_pipeline_free)
rdc.rdc_pipeline_get(pipeline, "foo81", 5)
rdc.rdc_pipeline_get(pipeline, "foo16706", 8)
local incr = "*3\r\n$6\r\nINCRBY\r\n$7\r\ncounter\r\n$1\r\n2\r\n"
rdc.rdc_pipeline_resp(pipeline, incr, #incr)
local all = reply(rdc.rdc_pipeline_execute(pipeline))
local count = tonumber(rdc.rdc_reply_int(rdc.rdc_reply_at(all, 2)))
print("pipeline: " .. text(rdc.rdc_reply_at(all, 0)) .. " " .. text(rdc.rdc_reply_at(all, 1)) .. " " .. count)

local refused = reply(rdc.rdc_set(readonly, "foo", 3, "bar", 3))
local sent = rdc.rdc_reply_sent(refused) == 1 and "sent" or "not sent"
print("refused: " .. ffi.string(rdc.rdc_error_name(rdc.rdc_reply_error(refused))) .. ", " .. sent)
print("error: " .. text(command(rc, "LPUSH", "foo81", "x")):match("^%S+"))
