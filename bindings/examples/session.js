// A session in Node.  Run as: node session.js redis://127.0.0.1:7000  (or the URL in RDC_URL)
"use strict";
const koffi = require("koffi");

// koffi parses C declarations; these are declarations of rediscluster.h. It converts a const char * to a string up to
// the first NUL. For binary data use koffi.decode(pointer, "uint8_t", rdc_reply_len(reply)).
const library = koffi.load(process.env.RDC_LIBRARY || "librediscluster.so.0");
for (const name of ["rdc_client", "rdc_pipeline", "rdc_reply"]) koffi.opaque(name);
const rdc = {};
for (const line of [
  "rdc_client *rdc_create(const char *url)",
  "const char *rdc_client_error(const rdc_client *client)",
  "rdc_client *rdc_readonly(const rdc_client *client)",
  "void rdc_close(rdc_client *client)",
  "rdc_reply *rdc_command_resp(const rdc_client *client, const char *resp, size_t len)",
  "rdc_pipeline *rdc_pipeline_new(const rdc_client *client)",
  "void rdc_pipeline_resp(rdc_pipeline *pipeline, const char *resp, size_t len)",
  "rdc_reply *rdc_pipeline_execute(rdc_pipeline *pipeline)",
  "void rdc_pipeline_free(rdc_pipeline *pipeline)",
  "const char *rdc_reply_str(const rdc_reply *reply)",
  "int64_t rdc_reply_int(const rdc_reply *reply)",
  "const rdc_reply *rdc_reply_at(const rdc_reply *reply, size_t i)",
  "int32_t rdc_reply_error(const rdc_reply *reply)",
  "int32_t rdc_reply_sent(const rdc_reply *reply)",
  "int32_t rdc_reply_free(rdc_reply *reply)",
  "const char *rdc_error_name(int32_t error)",
]) {
  rdc[line.match(/(rdc_\w+)\(/)[1]] = library.func(line);
}

const encode = (...args) =>
  Buffer.from(`*${args.length}\r\n` + args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`).join(""));

// Calls f on a thread of Node's pool, so that the event loop continues. `read` converts the reply before it is freed.
function run(f, ...args) {
  const read = args.pop();
  return new Promise((resolve, reject) =>
    f.async(...args, (failure, reply) => {
      if (failure) return reject(failure);
      try { resolve(read(reply)); } finally { rdc.rdc_reply_free(reply); }
    }));
}
const command = (client, args, read = rdc.rdc_reply_str) => {
  const resp = encode(...args);
  return run(rdc.rdc_command_resp, client, resp, resp.length, read);
};

async function main() {
  const rc = rdc.rdc_create(process.argv[2] || process.env.RDC_URL);
  const error = rdc.rdc_client_error(rc);
  if (error) throw new Error(error);
  console.log("set:", await command(rc, ["SET", "foo16706", "bar"]));
  await command(rc, ["SET", "foo81", "foo"]);
  await command(rc, ["DEL", "counter"]);

  // Reads go to primaries and replicas. A replica may lag behind its primary: repeat until it has the key.
  const readonly = rdc.rdc_readonly(rc);
  let value;
  do value = await command(readonly, ["GET", "foo16706"]); while (value === null);
  console.log("readonly get:", value);

  const pipeline = rdc.rdc_pipeline_new(rc);
  const commands = Buffer.concat([encode("GET", "foo81"), encode("GET", "foo16706"), encode("INCRBY", "counter", "2")]);
  rdc.rdc_pipeline_resp(pipeline, commands, commands.length);
  console.log("pipeline:", ...(await run(rdc.rdc_pipeline_execute, pipeline, (all) => [
    rdc.rdc_reply_str(rdc.rdc_reply_at(all, 0)),
    rdc.rdc_reply_str(rdc.rdc_reply_at(all, 1)),
    Number(rdc.rdc_reply_int(rdc.rdc_reply_at(all, 2))),
  ])));
  rdc.rdc_pipeline_free(pipeline);

  console.log("refused:", await command(readonly, ["SET", "foo", "bar"], (reply) =>
    `${rdc.rdc_error_name(rdc.rdc_reply_error(reply))}, ${rdc.rdc_reply_sent(reply) ? "sent" : "not sent"}`));
  console.log("error:", (await command(rc, ["LPUSH", "foo81", "x"])).split(" ")[0]);
  rdc.rdc_close(readonly);
  rdc.rdc_close(rc);
}

main();
