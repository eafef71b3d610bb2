"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { Cluster } = require("rediscluster");
const { client, control, eventually, URL } = require("./support");

test("session_of_readonly_mode_reads_from_replicas_and_refuses_writes", async (t) => {
  const rc = client(t);
  assert.equal(await rc.set("foo16706", "bar"), "OK");
  assert.equal(await rc.set("foo81", "foo"), "OK");
  await control("wait-sync");
  const readonly = rc.readonly();
  t.after(() => readonly.disconnect());
  for (let i = 0; i < 20; i++) assert.equal(await readonly.get("foo16706"), "bar");
  const results = await readonly.pipeline().get("foo81").get("foo16706").exec();
  assert.deepEqual(results, [
    [null, "foo"],
    [null, "bar"],
  ]);
  await assert.rejects(readonly.set("foo", "bar"), { name: "ReadonlyError", code: "READONLY", sent: false });
});

test("strings_and_buffers_are_returned_as_asked_for", async (t) => {
  const rc = client(t);
  const bytes = Buffer.from([0, 255, 128, 10, 13, 36]);
  await rc.set("node:bytes", bytes);
  assert.deepEqual(await rc.getBuffer("node:bytes"), bytes);
  assert.equal(await rc.strlen(Buffer.from("node:bytes")), 6);
  for (const text of [
    "",
    "a",
    "ü",
    "日本語",
    "😀",
    "x".repeat(47) + "é",
    "y".repeat(48),
    "z".repeat(70000),
    "\0\r\n",
  ]) {
    await rc.set("node:text", text);
    assert.equal(await rc.get("node:text"), text);
    assert.deepEqual(await rc.getBuffer("node:text"), Buffer.from(text));
  }
  assert.equal(await rc.get("node:none"), null);
  assert.equal(await rc.getBuffer("node:none"), null);
  assert.deepEqual(await rc.callBuffer("GET", "node:bytes"), bytes);
});

test("arguments_of_every_kind_are_encoded", async (t) => {
  const rc = client(t);
  const key = "node:args";
  await rc.del(key);
  const floats = new Uint8Array([49, 46, 53]);
  assert.equal(await rc.rpush(key, 1, 2.5, 3n, true, ["a", ["b", Buffer.from("c")]], floats, floats.buffer), 9);
  assert.deepEqual(await rc.lrange(key, 0, -1), ["1", "2.5", "3", "true", "a", "b", "c", "1.5", "1.5"]);
  for (const wrong of [undefined, null, {}, Symbol("s"), () => {}, new Date(), [null]]) {
    await assert.rejects(rc.set(key, wrong, "NX"), { name: "TypeError", message: /an argument of SET is of type/ });
  }
  assert.equal(await rc.call("type", key), "list");
  await assert.rejects(rc.call("NOSUCHCOMMAND", key), { name: "ReplyError", code: "ERR", sent: false });
});

test("many_arguments_exceed_the_outbox_and_keep_their_order", async (t) => {
  const rc = client(t);
  const values = Array.from({ length: 30_000 }, (_, i) => `value ${i}`);
  await rc.del("node:many");
  const replies = [
    rc.rpush("node:many", 1),
    rc.rpush("node:many", values),
    rc.rpush("node:many", 2),
    rc.llen("node:many"),
  ];
  assert.deepEqual(await Promise.all(replies), [1, 30_001, 30_002, 30_002]);
  assert.deepEqual(await rc.lrange("node:many", 0, -1), ["1", ...values, "2"]);
});

test("objects_and_maps_are_taken_and_returned_as_in_ioredis", async (t) => {
  const rc = client(t);
  await rc.del("node:hash");
  assert.equal(await rc.hset("node:hash", { name: "Ada", born: 1815 }), 2);
  assert.equal(await rc.hset("node:hash", new Map([["langue", "français"]])), 1);
  assert.deepEqual(await rc.hgetall("node:hash"), { name: "Ada", born: "1815", langue: "français" });
  assert.deepEqual(await rc.hgetallBuffer("node:hash"), {
    name: Buffer.from("Ada"),
    born: Buffer.from("1815"),
    langue: Buffer.from("français"),
  });
  await rc.hset("node:hash", "__proto__", "own");
  const hash = await rc.hgetall("node:hash");
  assert.equal(Object.getOwnPropertyDescriptor(hash, "__proto__").value, "own");
  assert.deepEqual(await rc.hgetall("node:none"), {});
  assert.equal(await rc.mset({ "{node}a": 1, "{node}b": 2 }), "OK");
  assert.equal(await rc.mset(new Map([["{node}a", 3]])), "OK");
  assert.deepEqual(await rc.mget("{node}a", ["{node}b"]), ["3", "2"]);
  assert.deepEqual(await rc.call("HGETALL", "node:none"), []);
});

test("integers_beyond_double_precision_are_exact", async (t) => {
  const rc = client(t);
  await rc.set("node:big", "9007199254740991");
  assert.equal(await rc.incrby("node:big", 0), 9007199254740991);
  assert.equal(await rc.incr("node:big"), 9007199254740992n);
  assert.equal(await rc.incrby("node:big", 9214364837600034815n), 9223372036854775807n);
  const texts = client(t, { stringNumbers: true });
  assert.equal(await texts.incrby("node:big", -7), "9223372036854775800");
  assert.deepEqual(await texts.pipeline().decr("node:big").exec(), [[null, "9223372036854775799"]]);
});

test("reply_mapping_resp3_returns_maps_and_numbers", async (t) => {
  const shapes = {};
  for (const replyMapping of ["legacy", "resp3"]) {
    const rc = client(t, { redisOptions: { replyMapping } });
    await rc.del("node:z");
    await rc.zadd("node:z", 1.5, "a", 2, "b");
    await rc.hset("node:h3", "f", "v");
    shapes[replyMapping] = [
      await rc.zrange("node:z", 0, -1, "WITHSCORES"),
      await rc.zscore("node:z", "a"),
      await rc.hgetall("node:h3"),
      await rc.call("HGETALL", "node:h3"),
      await rc.call("CONFIG", "GET", "maxmemory"),
    ];
  }
  assert.deepEqual(shapes.legacy, [["a", "1.5", "b", "2"], "1.5", { f: "v" }, ["f", "v"], ["maxmemory", "0"]]);
  const byUrl = client(t, {}, `${URL}?protocol=3`);
  assert.equal(await byUrl.zscore("node:z", "a"), 1.5);
  assert.deepEqual(shapes.resp3, [
    [
      ["a", 1.5],
      ["b", 2],
    ],
    1.5,
    { f: "v" },
    { f: "v" },
    { maxmemory: "0" },
  ]);
});

test("callbacks_are_called_as_in_ioredis", async (t) => {
  const rc = client(t);
  await rc.set("node:callback", "v");
  const called = (method, ...args) => new Promise((resolve) => rc[method](...args, (...result) => resolve(result)));
  assert.deepEqual(await called("get", "node:callback"), [null, "v"]);
  const [error] = await called("lpush", "node:callback", "x");
  assert.equal(error.code, "WRONGTYPE");
  assert.deepEqual(await called("call", "GET", "node:callback"), [null, "v"]);
});

test("every_command_of_the_table_is_a_method", () => {
  for (const name of require("../lib/command_names")) {
    assert.equal(typeof Cluster.prototype[name.toLowerCase()], "function", name);
  }
});

test("scan_streams_return_every_key_and_element", async (t) => {
  const rc = client(t);
  const keys = Array.from({ length: 500 }, (_, i) => `node:scan:${i}`).sort();
  await Promise.all(keys.map((key) => rc.set(key, 1)));
  const found = new Set();
  for await (const some of rc.scanStream({ match: "node:scan:*", count: 50 })) for (const key of some) found.add(key);
  assert.deepEqual([...found].sort(), keys);
  await rc.del("node:scanned");
  await rc.hset("node:scanned", Object.fromEntries(keys.map((key) => [key, 1])));
  const fields = [];
  for await (const some of rc.hscanBufferStream("node:scanned", { count: 100 })) fields.push(...some);
  assert.equal(fields.length, 1000);
  assert.ok(Buffer.isBuffer(fields[0]));
  const stream = rc.scanStream({ count: 1 });
  for await (const some of stream) {
    assert.ok(Array.isArray(some));
    break;
  }
  assert.ok(stream.destroyed);
  await assert.rejects(
    async () => {
      for await (const some of rc.hscanStream("node:scan:1")) assert.fail(some);
    },
    { code: "WRONGTYPE" },
  );
});

test("defined_command_runs_a_script_on_every_node", async (t) => {
  const rc = client(t, { scripts: { last: { lua: "return ARGV[#ARGV]", numberOfKeys: 1 } } });
  const lua = `return {KEYS[1], ARGV[1], '${Date.now()}'}`;
  rc.defineCommand("echoes", { lua, numberOfKeys: 1 });
  for (let i = 0; i < 30; i++) {
    const [key, argument] = await rc.echoes(`node:script:${i}`, i);
    assert.deepEqual([key, argument], [`node:script:${i}`, String(i)]);
  }
  assert.deepEqual(await rc.echoesBuffer("node:k", "b").then((all) => all[1]), Buffer.from("b"));
  assert.equal(await rc.last("node:k", 1, 2), "2");
  const results = await rc.pipeline().echoes("node:k", 1).last("node:k", "z").exec();
  assert.deepEqual(
    results.map(([error, value]) => [error, value.length]),
    [
      [null, 3],
      [null, 1],
    ],
  );
  await assert.rejects(rc.echoes(), { name: "InvalidError", code: "INVALID", sent: false });
});

test("events_tell_when_the_client_is_ready_and_closed", async (t) => {
  const rc = client(t, { lazyConnect: true });
  const events = [];
  for (const event of ["connect", "ready", "error", "close", "end"]) rc.on(event, () => events.push(event));
  assert.equal(rc.status, "wait");
  await rc.connect();
  assert.equal(rc.status, "ready");
  assert.equal(await rc.quit(), "OK");
  await eventually(() => events.includes("end"));
  assert.deepEqual(events, ["connect", "ready", "close", "end"]);
  await assert.rejects(rc.get("k"), { name: "ClosedError", code: "CLOSED", sent: false });
  const failing = client(t, { timeout_ms: 300 }, [{ host: "127.0.0.1", port: 1 }]);
  const error = await new Promise((resolve) => failing.once("error", resolve));
  assert.match(error.message, /127\.0\.0\.1:1/);
  assert.equal(failing.status, "wait");
});

test("unreachable_cluster_without_error_listener_fails_the_commands_only", async (t) => {
  const rc = client(t, { timeout_ms: 300 }, [{ host: "127.0.0.1", port: 1 }]);
  await assert.rejects(rc.get("k"), { sent: false, message: /127\.0\.0\.1:1/ });
});

test("introspection_needs_no_network", async (t) => {
  const rc = client(t);
  await rc.ping();
  assert.equal(rc.topology().length, 3);
  assert.equal(typeof rc.stats().commands, "number");
  assert.deepEqual(rc.explain("GET", Buffer.from("foo")).slots, [Cluster.keySlot("foo")]);
  assert.equal(Cluster.keySlot("foo"), 12182);
});

test("derived_client_changes_options_and_shares_the_topology", async (t) => {
  const rc = client(t);
  await rc.set("node:derived", "v");
  const quick = rc.with({ timeout_ms: 700 });
  t.after(() => quick.disconnect());
  assert.equal(await quick.get("node:derived"), "v");
  assert.throws(() => rc.with({ user: "x" }), { name: "InvalidError", code: "INVALID" });
  assert.throws(() => rc.with({}), /at least one option/);
  rc.disconnect();
  assert.equal(await quick.get("node:derived"), "v");
});

test("asynchronous_dispose_waits_and_closes", { skip: !Symbol.asyncDispose }, async (t) => {
  const rc = client(t);
  const pending = rc.incr("node:dispose");
  await rc[Symbol.asyncDispose]();
  assert.equal(typeof (await pending), "number");
  assert.equal(rc.status, "end");
});
