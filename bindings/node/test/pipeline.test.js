"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { client } = require("./support");

test("pipeline_returns_error_and_result_of_each_command", async (t) => {
  const rc = client(t);
  const pipeline = rc
    .pipeline()
    .set("node:p", "v")
    .get("node:p")
    .lpush("node:p", 1)
    .getBuffer("node:p")
    .hgetall("node:none");
  assert.equal(pipeline.length, 5);
  const results = await pipeline.exec();
  assert.deepEqual(
    results.map(([error]) => error?.code ?? null),
    [null, null, "WRONGTYPE", null, null],
  );
  assert.match(results[2][0].message, /^Command # 3 \(LPUSH node:p\) of pipeline: WRONGTYPE/);
  assert.equal(results[2][0].sent, true);
  assert.deepEqual(
    results.map(([, result]) => result),
    ["OK", "v", undefined, Buffer.from("v"), {}],
  );
  assert.equal(pipeline.length, 0);
  assert.deepEqual(await pipeline.exec(), []);
});

test("pipeline_over_all_nodes_keeps_the_order_of_its_commands", async (t) => {
  const rc = client(t);
  const pipeline = rc.pipeline();
  for (let i = 0; i < 1000; i++) pipeline.set(`node:p:${i}`, i).get(`node:p:${i}`);
  const results = await pipeline.exec();
  assert.equal(results.length, 2000);
  results.forEach(([error, value], i) => {
    assert.equal(error, null);
    assert.equal(value, i % 2 === 0 ? "OK" : String((i - 1) / 2));
  });
});

test("pipeline_takes_arrays_and_callbacks_as_in_ioredis", async (t) => {
  const rc = client(t);
  const results = await rc
    .pipeline([
      ["set", "node:q", 1],
      ["incr", "node:q"],
      ["call", "GET", "node:q"],
    ])
    .exec();
  assert.deepEqual(results, [
    [null, "OK"],
    [null, 2],
    [null, "2"],
  ]);
  const seen = await new Promise((resolve) => {
    const calls = [];
    rc.pipeline()
      .get("node:q", (error, value) => calls.push([error, value]))
      .lpush("node:q", 1, (error) => calls.push(error.code))
      .exec((error, all) => resolve([...calls, error, all.length]));
  });
  assert.deepEqual(seen, [[null, "2"], "WRONGTYPE", null, 2]);
  assert.throws(() => rc.pipeline([["nosuchcommand"]]), TypeError);
  assert.throws(() => rc.pipeline().set("k", undefined), TypeError);
});

test("transaction_runs_whole_or_not_at_all", async (t) => {
  const rc = client(t);
  await rc.del("{node}t");
  assert.deepEqual(await rc.multi().incr("{node}t").incr("{node}t").get("{node}t").exec(), [
    [null, 1],
    [null, 2],
    [null, "2"],
  ]);
  assert.deepEqual(await rc.multi([["incr", "{node}t"]]).exec(), [[null, 3]]);
  await assert.rejects(rc.multi().incr("{node}t").call("NOSUCH", "{node}t").exec(), { sent: false });
  assert.equal(await rc.get("{node}t"), "3");
  const results = await rc.multi().incr("{node}t").lpush("{node}t", 1).exec();
  assert.deepEqual(
    results.map(([error, value]) => error?.code ?? value),
    [4, "WRONGTYPE"],
  );
  await assert.rejects(rc.multi().set("node:one", 1).set("node:two", 2).exec(), { code: "CROSSSLOT", sent: false });
  assert.throws(() => rc.multi({ pipeline: false }), { name: "InvalidError", code: "INVALID" });
});

test("watched_key_that_was_changed_ends_the_transaction_of_a_pinned_client_with_null", async (t) => {
  const rc = client(t);
  const key = "node:watched";
  await rc.set(key, 10);
  const pinned = rc.pin(key);
  t.after(() => pinned.disconnect());
  await pinned.watch(key);
  assert.equal(await pinned.get(key), "10");
  assert.deepEqual(await pinned.multi().decr(key).getBuffer(key).hgetall("{node:watched}h").exec(), [
    [null, 9],
    [null, Buffer.from("9")],
    [null, {}],
  ]);
  await pinned.watch(key);
  await rc.set(key, 20);
  assert.equal(await pinned.multi().decr(key).exec(), null);
  assert.equal(await rc.get(key), "20");
  await assert.rejects(pinned.multi().call("NOSUCH", key).exec(), { code: "EXECABORT", sent: false });
  assert.deepEqual(await pinned.multi().incr(key).exec(), [[null, 21]]);
  await assert.rejects(rc.watch(key), { name: "InvalidError", sent: false });
});

test("commands_and_pipelines_of_one_key_run_in_the_order_of_their_calls", async (t) => {
  const rc = client(t);
  const key = "node:order";
  await rc.del(key);
  const pushes = [];
  for (let i = 0; i < 60; i += 3) {
    pushes.push(rc.rpush(key, i));
    pushes.push(
      rc
        .pipeline()
        .rpush(key, i + 1)
        .exec(),
    );
    pushes.push(rc.rpush(key, i + 2, "x".repeat(i === 30 ? 100_000 : 1)));
  }
  await Promise.all(pushes);
  const numbers = (await rc.lrange(key, 0, -1)).filter((value) => !value.startsWith("x")).map(Number);
  assert.deepEqual(
    numbers,
    Array.from({ length: 60 }, (_, i) => i),
  );
});
