"use strict";

const assert = require("node:assert/strict");
const net = require("node:net");
const { test } = require("node:test");
const { blockedClients, client, control, eventually, silentServer } = require("./support");

/** Forwards to a port of this machine, and records the sizes of what the client sends. */
async function recorder(t, port) {
  const writes = [];
  const server = net.createServer((socket) => {
    const upstream = net.connect(port);
    socket.on("data", (data) => {
      writes.push(data.length);
      upstream.write(data);
    });
    upstream.on("data", (data) => socket.write(data));
    for (const end of [socket, upstream]) {
      end.on("error", () => {});
      end.on("close", () => (end === socket ? upstream : socket).destroy());
    }
    t.after(() => socket.destroy());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  return { writes, url: `redis://127.0.0.1:${server.address().port}?cluster=no` };
}

test("commands_of_one_iteration_leave_as_one_batch", async (t) => {
  const single = Number(new URL(process.env.RDC_SINGLE_URL).port);
  const { writes, url } = await recorder(t, single);
  const rc = client(t, {}, url);
  await rc.get("node:batch");
  writes.length = 0;
  const replies = [];
  // Of several callbacks of one iteration, and of the promises that they complete.
  for (let i = 0; i < 10; i++) {
    setImmediate(() => {
      for (let j = 0; j < 10; j++) replies.push(rc.get("node:batch"));
      Promise.resolve().then(() => replies.push(rc.get("node:batch")));
    });
  }
  await eventually(() => replies.length === 110);
  assert.deepEqual(await Promise.all(replies), Array(110).fill(null));
  const size = "*2\r\n$3\r\nGET\r\n$10\r\nnode:batch\r\n".length;
  assert.deepEqual(writes, [110 * size]);
});

test("ten_thousand_commands_in_flight_get_their_own_replies", async (t) => {
  const rc = client(t);
  await rc.connect();
  const numbers = Array.from({ length: 10_000 }, (_, i) => i);
  const set = await Promise.all(numbers.map((i) => rc.set(`node:flight:${i}`, `value ${i}`, "EX", 60)));
  assert.ok(set.every((reply) => reply === "OK"));
  const pending = numbers.map((i) => rc.get(`node:flight:${i}`));
  assert.equal(rc.inFlight, 10_000);
  (await Promise.all(pending)).forEach((value, i) => assert.equal(value, `value ${i}`));
  assert.equal(rc.inFlight, 0);
});

test("blocking_command_does_not_delay_others", async (t) => {
  const rc = client(t);
  await rc.del("node:list");
  const [port] = await control("primary-of", "key:node:list");
  const waiting = rc.blpop("node:list", 20);
  await eventually(async () => (await blockedClients(port)) === 1);
  const started = Date.now();
  for (let i = 0; i < 100; i++) assert.equal(await rc.set("node:list:other", i), "OK");
  assert.ok(Date.now() - started < 5000);
  await rc.rpush("node:list", "here");
  assert.deepEqual(await waiting, ["node:list", "here"]);
});

test("server_that_does_not_answer_does_not_block_the_event_loop", async (t) => {
  const rc = client(t, { timeout_ms: 500, lazyConnect: true }, await silentServer(t));
  let longest = 0;
  let last = Date.now();
  const ticks = setInterval(() => {
    longest = Math.max(longest, Date.now() - last);
    last = Date.now();
  }, 5);
  await assert.rejects(rc.get("k"), (error) => ["TIMEOUT", "CONNECT"].includes(error.code));
  clearInterval(ticks);
  assert.ok(longest < 400, `the loop stood still for ${longest} ms`);
});

test("asynchronous_context_follows_the_caller", async (t) => {
  const { AsyncLocalStorage } = require("node:async_hooks");
  const storage = new AsyncLocalStorage();
  const rc = client(t);
  const one = (i) =>
    storage.run(i, async () => {
      await rc.get(`node:context:${i}`);
      assert.equal(storage.getStore(), i);
      await new Promise((resolve) => rc.get("node:context", () => resolve(assert.equal(storage.getStore(), i))));
    });
  await Promise.all(Array.from({ length: 50 }, (_, i) => one(i)));
});
