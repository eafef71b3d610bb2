"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const errors = require("rediscluster");
const { client, control, URL } = require("./support");

const { RedisError, ReplyError } = errors;

test("server_error_has_code_node_and_sent", async (t) => {
  const rc = client(t);
  await rc.set("node:error", "text");
  const error = await rc.lpush("node:error", 1).catch((e) => e);
  assert.ok(error instanceof ReplyError && error instanceof RedisError && error instanceof Error);
  assert.equal(error.name, "ReplyError");
  assert.equal(error.code, "WRONGTYPE");
  assert.equal(error.sent, true);
  const port = (await control("primary-of", "key:node:error"))[0];
  assert.equal(error.node, `127.0.0.1:${port}`);
});

test("refused_command_was_not_sent", async (t) => {
  const rc = client(t);
  const refused = { sent: false };
  await assert.rejects(rc.call("NOSUCH", "k"), { ...refused, name: "ReplyError", code: "ERR" });
  await assert.rejects(rc.msetnx("node:a", 1, "node:b", 2), {
    ...refused,
    name: "CrossSlotError",
    code: "CROSSSLOT",
  });
  await assert.rejects(rc.readonly().incr("node:a"), { ...refused, name: "ReadonlyError", code: "READONLY" });
  await assert.rejects(rc.get(), { ...refused, name: "InvalidError", code: "INVALID" });
  await assert.rejects(rc.subscribe(), { ...refused, name: "InvalidError" });
  await assert.rejects(rc.call("SUBSCRIBE", "channel"), { ...refused, name: "InvalidError" });
  await assert.rejects(rc.select(1), { ...refused, name: "InvalidError" });
});

test("denied_permission_is_an_authentication_error_that_was_not_sent", async (t) => {
  const admin = new errors.Cluster(URL);
  await admin.call("ACL", "SETUSER", "node-reader", "on", ">secret", "+@read", "+cluster", "-echo", "~*");
  t.after(async () => {
    await admin.call("ACL", "DELUSER", "node-reader");
    await admin.quit();
  });
  const rc = client(t, { username: "node-reader", password: "secret" });
  await rc.connect();
  assert.equal(await rc.get("node:none"), null);
  await assert.rejects(rc.set("node:none", 1), { name: "AuthenticationError", code: "AUTH", sent: false });
  const wrong = client(t, { username: "node-reader", password: "wrong", timeout_ms: 1000 });
  await assert.rejects(wrong.get("node:none"), { name: "AuthenticationError", code: "AUTH", sent: false });
});

test("stopped_node_is_a_timeout_and_a_write_may_have_run", async (t) => {
  const rc = client(t, { timeout_ms: 600, attempt_timeout_ms: 300 });
  await rc.set("node:stopped", 1);
  const [port] = await control("primary-of", "key:node:stopped");
  await control("stop", port);
  t.after(async () => {
    await control("cont", port);
    await control("wait-healthy");
  });
  const started = Date.now();
  await assert.rejects(rc.incr("node:stopped"), { name: "TimeoutError", code: "TIMEOUT", sent: true });
  assert.ok(Date.now() - started < 3000);
});

test("queue_limit_refuses_further_commands_and_loses_none", async (t) => {
  const rc = client(t, { queue_limit: 100 });
  await rc.connect();
  const results = await Promise.allSettled(Array.from({ length: 150 }, (_, i) => rc.set(`node:limit:${i}`, i)));
  const refused = results.filter(({ status }) => status === "rejected").map(({ reason }) => reason);
  assert.equal(refused.length, 50);
  for (const error of refused) {
    assert.equal(error.name, "QueueFullError");
    assert.equal(error.code, "QUEUE_FULL");
    assert.equal(error.sent, false);
  }
  assert.equal(await rc.set("node:limit", 1), "OK");
});

test("disconnect_fails_commands_in_flight", async (t) => {
  const rc = client(t);
  await rc.connect();
  const pending = [rc.blpop("node:disconnect", 20), rc.set("node:disconnect:2", 1)];
  await new Promise(setImmediate);
  rc.disconnect();
  const [blocked] = await Promise.allSettled(pending);
  assert.equal(blocked.reason.code, "CLOSED");
  await assert.rejects(rc.get("k"), { name: "ClosedError", code: "CLOSED", sent: false });
});

test("codes_of_the_header_have_classes", () => {
  const fs = require("node:fs");
  const path = require("node:path");
  const header = fs.readFileSync(path.join(__dirname, "../../../include/rediscluster.h"), "utf8");
  const codes = [...header.matchAll(/^#define RDC_ERR_(\w+) \d+$/gm)].map((match) => match[1]);
  assert.ok(codes.length >= 16, codes.join(" "));
  assert.deepEqual(codes.sort(), Object.keys(require("../lib/errors").CLASSES).sort());
});

test("an_error_of_the_url_is_thrown_by_the_constructor", () => {
  assert.throws(() => new errors.Cluster("redis://127.0.0.1:99999"), {
    name: "InvalidError",
    code: "INVALID",
    sent: false,
  });
  assert.throws(() => new errors.Cluster(`${URL}?no_such_option=1`), /no_such_option/);
  assert.throws(() => new errors.Cluster([]), { name: "InvalidError" });
});
