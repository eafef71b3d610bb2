"use strict";

const assert = require("node:assert/strict");
const { getEventListeners } = require("node:events");
const { test } = require("node:test");
const { AbortError, RedisError } = require("rediscluster");
const { blockedClients, client, control, eventually, silentServer } = require("./support");

test("abort_of_a_blocking_command_rejects_at_once_and_takes_no_element", async (t) => {
  const rc = client(t);
  const key = "node:abort";
  await rc.del(key);
  const [port] = await control("primary-of", `key:${key}`);
  const controller = new AbortController();
  const pending = rc.blpop(key, 30, { signal: controller.signal }).catch((error) => error);
  await eventually(async () => (await blockedClients(port)) === 1);
  const reason = new Error("no longer needed");
  const started = Date.now();
  controller.abort(reason);
  const error = await pending;
  assert.ok(Date.now() - started < 1000);
  assert.ok(error instanceof AbortError && error instanceof RedisError);
  assert.deepEqual([error.name, error.code, error.sent, error.cause], ["AbortError", "ABORT_ERR", true, reason]);
  // The server notices that the connection was closed. A pushed element then stays in the list.
  await eventually(async () => (await blockedClients(port)) === 0);
  await rc.rpush(key, "kept");
  assert.deepEqual(await rc.lrange(key, 0, -1), ["kept"]);
});

test("abort_before_the_command_leaves_means_not_sent", async (t) => {
  const rc = client(t);
  await rc.connect();
  await rc.del("node:unsent");
  const controller = new AbortController();
  const pending = rc.incr("node:unsent", { signal: controller.signal });
  controller.abort();
  await assert.rejects(pending, { name: "AbortError", sent: false });
  await assert.rejects(rc.incr("node:unsent", { signal: controller.signal }), { name: "AbortError", sent: false });
  await assert.rejects(rc.pipeline().incr("node:unsent").exec({ signal: controller.signal }), {
    name: "AbortError",
    sent: false,
  });
  assert.equal(await rc.get("node:unsent"), null);
});

test("timeout_signal_ends_one_command_and_leaves_the_others", async (t) => {
  const rc = client(t);
  const others = Array.from({ length: 200 }, (_, i) => rc.set(`node:beside:${i}`, i));
  const started = Date.now();
  const error = await rc.blpop("node:never", 30, { signal: AbortSignal.timeout(50) }).catch((e) => e);
  assert.equal(error.cause.name, "TimeoutError");
  assert.ok(Date.now() - started < 1500);
  assert.deepEqual(await Promise.all(others), Array(200).fill("OK"));
});

test("one_signal_of_many_commands_ends_all_of_them_and_has_one_listener", async (t) => {
  const rc = client(t);
  const controller = new AbortController();
  const pending = Array.from({ length: 50 }, (_, i) => rc.blpop(`node:never:${i}`, 30, { signal: controller.signal }));
  assert.equal(getEventListeners(controller.signal, "abort").length, 1);
  await rc.set("node:beside", 1, { signal: controller.signal });
  controller.abort();
  for (const { reason } of await Promise.allSettled(pending)) assert.equal(reason.name, "AbortError");
  assert.equal(getEventListeners(controller.signal, "abort").length, 0);
});

test("abort_after_completion_has_no_effect_and_leaves_no_listener", async (t) => {
  const rc = client(t);
  const controller = new AbortController();
  const { signal } = controller;
  await rc.set("node:done", 1, { signal });
  await rc.pipeline().get("node:done").exec({ signal });
  await assert.rejects(rc.lpush("node:done", 1, { signal }), { code: "WRONGTYPE" });
  assert.equal(getEventListeners(signal, "abort").length, 0);
  controller.abort();
  assert.equal(await rc.get("node:done"), "1");
});

test("aborted_pipeline_rejects_and_its_signal_is_refused_for_one_command", async (t) => {
  const rc = client(t, { lazyConnect: true }, await silentServer(t));
  const controller = new AbortController();
  const pending = rc.pipeline().set("k", 1).exec({ signal: controller.signal });
  await new Promise((resolve) => setTimeout(resolve, 20));
  controller.abort();
  await assert.rejects(pending, { name: "AbortError", code: "ABORT_ERR", sent: false });
  assert.throws(() => rc.pipeline().get("k", { signal: controller.signal }), /pass \{ signal \} to exec\(\)/);
});
