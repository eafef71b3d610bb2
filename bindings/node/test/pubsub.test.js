"use strict";

const assert = require("node:assert/strict");
const { once } = require("node:events");
const { test } = require("node:test");
const { Cluster, RedisError } = require("rediscluster");
const { URL, client, control, eventually, runNode } = require("./support");

const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The arguments of the events of these names, in order, each after its name. */
function record(emitter, ...names) {
  const events = [];
  for (const name of names) emitter.on(name, (...args) => events.push([name, ...args]));
  return events;
}

const subscribers = async (rc, channel) => Number((await rc.pubsub("NUMSUB", channel))[1]);

test("messages_are_events_of_texts", async (t) => {
  const rc = client(t);
  const events = record(rc, "message", "pmessage", "smessage");
  assert.equal(await rc.subscribe("node:news", "node:ünïcode"), 2);
  assert.equal(await rc.psubscribe("node:n*"), 3);
  assert.equal(await rc.ssubscribe("node:a", ["node:b", "node:c"]), 3);
  await rc.publish("node:news", "x");
  await eventually(() => events.length === 2);
  assert.deepEqual(events.splice(0).sort(), [
    ["message", "node:news", "x"],
    ["pmessage", "node:n*", "node:news", "x"],
  ]);
  await rc.publish("node:ünïcode", "é");
  await eventually(() => events.length === 1);
  assert.deepEqual(events.splice(0), [["message", "node:ünïcode", "é"]]);
  for (const name of ["a", "b", "c"]) assert.equal(await rc.spublish(`node:${name}`, name), 1);
  await eventually(() => events.length === 3);
  assert.deepEqual(events.sort(), [
    ["smessage", "node:a", "a"],
    ["smessage", "node:b", "b"],
    ["smessage", "node:c", "c"],
  ]);
});

test("messages_are_events_of_buffers", async (t) => {
  const rc = client(t);
  const channel = Buffer.from([0, 255, 13, 10]);
  const payload = Buffer.from([255, 0, 254]);
  const events = record(rc, "messageBuffer", "pmessageBuffer", "smessageBuffer", "message");
  await rc.subscribe(channel);
  await rc.psubscribe("node:buf*");
  await rc.ssubscribe(channel);
  await rc.publish(channel, payload);
  await rc.spublish(channel, payload);
  await rc.publish("node:buffers", payload);
  await eventually(() => events.length === 4);
  const by = (name) => events.find(([each]) => each === name).slice(1);
  assert.deepEqual(by("messageBuffer"), [channel, payload]);
  assert.deepEqual(by("smessageBuffer"), [channel, payload]);
  assert.deepEqual(by("pmessageBuffer"), ["node:buf*", Buffer.from("node:buffers"), payload]);
  assert.deepEqual(by("message"), [channel.toString(), payload.toString()]);
});

test("commands_resolve_to_the_number_of_subscriptions", async (t) => {
  const rc = client(t);
  const counts = [];
  for (const [method, ...channels] of [
    ["subscribe", "node:1", "node:2"],
    ["psubscribe", "node:p*"],
    ["unsubscribe", "node:1"],
    ["subscribe", "node:3"],
    ["unsubscribe"],
    ["unsubscribe"],
    ["punsubscribe"],
    ["sunsubscribe"],
  ]) {
    counts.push(await rc[method](...channels));
  }
  assert.deepEqual(counts, [2, 3, 2, 3, 1, 1, 0, 0]);
  // Without a wait, each command is confirmed too.
  await Promise.all([
    rc.subscribe("node:1", "node:1", "node:2"),
    rc.unsubscribe("node:1"),
    rc.subscribe("node:1"),
    rc.unsubscribe(),
    rc.unsubscribe(),
  ]);
  const result = await new Promise((resolve) => rc.subscribe("node:4", (...args) => resolve(args)));
  assert.deepEqual(result, [null, 1]);
});

/** A client whose user may use these channels only. */
async function limitedClient(t, admin, channels, options = {}) {
  await admin.call("ACL", "SETUSER", "node-sub", "on", ">secret", "+@all", "~*", "resetchannels", channels);
  t.after(async () => {
    const last = new Cluster(URL);
    await last.call("ACL", "DELUSER", "node-sub");
    await last.quit();
  });
  return client(t, { username: "node-sub", password: "secret", ...options });
}

test("refused_channel_rejects_its_command_and_no_other", async (t) => {
  const admin = client(t);
  const rc = await limitedClient(t, admin, "&node:allowed*");
  const [refused, allowed] = await Promise.allSettled([
    rc.subscribe("node:allowed:1", "node:secret"),
    rc.subscribe("node:allowed:2"),
  ]);
  assert.equal(refused.reason.code, "NOPERM");
  assert.match(refused.reason.message, /node:secret/);
  assert.equal(allowed.status, "fulfilled");
  const message = once(rc, "message");
  await admin.publish("node:allowed:1", "x");
  assert.deepEqual(await message, ["node:allowed:1", "x"]);
});

test("subscribe_rejects_and_leaves_nothing_subscribed_if_no_node_is_reached", async () => {
  // Without a subscription, the process ends by itself.
  const script = `
    (async () => {
      const rc = new Cluster("redis://127.0.0.1:1?timeout_ms=300");
      for (let i = 0; i < 3; i++) {
        const began = Date.now();
        const error = await rc.subscribe("node:c", "node:d").catch((error) => error);
        const ms = Date.now() - began;
        console.log(error.name, /127.0.0.1:1 refused the connection/.test(error.message), ms < 3000 || ms);
      }
    })();`;
  assert.deepEqual(await runNode(script), { output: "CannotConnectError true true\n".repeat(3), status: 0 });
});

test("subscribe_that_times_out_ends_what_it_began_and_nothing_else", { timeout: 60_000 }, async (t) => {
  const rc = client(t, { timeout_ms: 700 });
  const other = client(t);
  rc.on("error", () => {});
  const numbers = Array.from({ length: 20 }, (_, i) => `node:limit:${i}`);
  const ports = await Promise.all(numbers.map((name) => control("primary-of", `key:${name}`)));
  const lost = numbers[0];
  const [mine, earlier, later] = numbers.filter((_, i) => ports[i][0] !== ports[0][0]);
  assert.equal(await rc.ssubscribe(earlier), 1);
  t.after(async () => {
    await control("cont", ports[0][0]);
    await control("wait-healthy");
  });
  const limited = await limitedClient(t, other, "&node:limit*", { timeout_ms: 700 });
  limited.on("error", () => {});
  await control("wait-sync");
  await control("stop", ports[0][0]);
  const began = Date.now();
  const rejected = assert.rejects(rc.ssubscribe(earlier, mine, lost), (error) => {
    assert.match(error.message, new RegExp(`SSUBSCRIBE ${lost} was given up after 700 ms \\(timeout_ms\\): .`));
    return error instanceof RedisError && error.sent === false;
  });
  // One channel is refused, and the other is not confirmed.
  const refused = assert.rejects(limited.ssubscribe(`refused{${mine}}`, lost), { code: "NOPERM" });
  const sharing = Promise.allSettled([rc.ssubscribe(lost), rc.ssubscribe(lost)]);
  await delay(350);
  assert.equal(await rc.ssubscribe(later), 3);
  await rejected;
  // Not only when a replica has been promoted.
  assert.equal(await Promise.race([refused.then(() => "in time"), delay(1000)]), "in time");
  assert.ok(Date.now() - began >= 700);
  for (const { reason } of await sharing) assert.match(reason.message, /was given up after 700 ms/);
  const seen = record(rc, "smessage");
  for (const name of [earlier, later]) assert.equal(await other.spublish(name, "x"), 1);
  await eventually(() => seen.length === 2);
  await eventually(async () => (await other.spublish(mine, "x")) === 0);
});

test("a_client_with_subscriptions_executes_other_commands", async (t) => {
  const rc = client(t);
  await rc.subscribe("node:mixed");
  await rc.set("node:mixed", "value");
  assert.equal(await rc.get("node:mixed"), "value");
  const message = once(rc, "message");
  await rc.publish("node:mixed", "own");
  assert.deepEqual(await message, ["node:mixed", "own"]);
});

test("duplicate_is_a_client_of_its_own", async (t) => {
  const rc = client(t, { stringNumbers: true });
  const copy = rc.duplicate();
  t.after(() => copy.disconnect());
  await copy.subscribe("node:copy");
  const message = once(copy, "message");
  await rc.publish("node:copy", "x");
  assert.deepEqual(await message, ["node:copy", "x"]);
  assert.equal(await copy.incr("node:copy:count").then((n) => typeof n), "string");
  const reader = rc.readonly().duplicate([], { lazyConnect: true });
  t.after(() => reader.disconnect());
  await assert.rejects(reader.set("node:copy", 1), { name: "ReadonlyError" });
});

test("many_messages_keep_their_order", async (t) => {
  const rc = client(t);
  await rc.ssubscribe("node:stream");
  const seen = [];
  rc.on("smessage", (_, message) => seen.push(Number(message)));
  for (let i = 0; i < 5000; i += 500) {
    await Promise.all(Array.from({ length: 500 }, (_, j) => rc.spublish("node:stream", i + j)));
  }
  await eventually(() => seen.length === 5000);
  assert.deepEqual(
    seen,
    Array.from({ length: 5000 }, (_, i) => i),
  );
});

test("exception_of_a_listener_is_uncaught_and_loses_no_message", async () => {
  const script = `
    process.on("uncaughtException", (error) => console.log(error.message));
    (async () => {
      const rc = new Cluster(url);
      let count = 0;
      rc.on("smessage", (_, message) => {
        if (++count === 3) setTimeout(() => rc.disconnect(), 10);
        if (message === "0") throw new Error("mine");
        console.log(message);
      });
      await rc.ssubscribe("node:throws");
      await Promise.all([0, 1, 2].map((i) => rc.spublish("node:throws", i)));
    })();`;
  const { output, status } = await runNode(script);
  assert.deepEqual([output.trim().split("\n").sort(), status], [["1", "2", "mine"], 0]);
});

test("subscription_keeps_the_process_alive_and_its_end_lets_it_go", async () => {
  const script = `
    (async () => {
      const rc = new Cluster(url);
      await rc.subscribe("node:alive");
      rc.on("message", async (channel, message) => {
        console.log(message);
        console.log(await rc.unsubscribe());
      });
      const other = new Cluster(url);
      setTimeout(() => other.publish("node:alive", "ends"), 300);
    })();`;
  assert.deepEqual(await runNode(script), { output: "ends\n0\n", status: 0 });
});

test("subscriber_works_in_a_worker_that_is_terminated", async () => {
  const script = `
    const { Worker } = require("node:worker_threads");
    const worker = new Worker(
      \`const { Cluster } = require("rediscluster");
       const rc = new Cluster(${JSON.stringify(URL)});
       rc.on("message", (_, message) => require("node:worker_threads").parentPort.postMessage(message));
       rc.subscribe("node:worker").then(() => rc.publish("node:worker", "x"));\`,
      { eval: true },
    );
    worker.on("message", async (message) => {
      console.log(message);
      console.log(await worker.terminate());
    });`;
  assert.deepEqual(await runNode(script), { output: "x\n1\n", status: 0 });
});

test("disconnect_ends_subscriptions_and_fails_what_is_not_confirmed", async (t) => {
  const rc = client(t);
  const other = client(t);
  await rc.subscribe("node:gone");
  const pending = rc.subscribe("node:late");
  rc.disconnect();
  await assert.rejects(pending, { name: "ClosedError" });
  await assert.rejects(rc.subscribe("node:later"), { name: "ClosedError" });
  await eventually(async () => (await subscribers(other, "node:gone")) === 0);
});

test("dropped_client_with_ended_subscriptions_is_collected", async () => {
  const script = `
    (async () => {
      let collected = 0;
      const registry = new FinalizationRegistry(() => collected++);
      for (let i = 0; i < 20; i++) {
        const rc = new Cluster(url);
        await rc.subscribe("node:" + i);
        await rc.unsubscribe();
        registry.register(rc);
      }
      for (let i = 0; i < 50 && collected < 15; i++) {
        gc();
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      console.log(collected >= 15);
    })();`;
  assert.deepEqual(await runNode(script, { flags: ["--expose-gc"] }), { output: "true\n", status: 0 });
});

test("killed_primary_is_a_gap_before_the_next_message", { timeout: 60_000 }, async (t) => {
  const rc = client(t);
  const channel = "node:gap";
  const events = record(rc, "gap", "smessage");
  rc.on("error", () => {});
  await rc.ssubscribe(channel);
  await control("wait-sync");
  const [port] = await control("primary-of", `key:${channel}`);
  await control("kill", port);
  t.after(async () => {
    await control("restart", port);
    await control("wait-healthy");
  });
  await eventually(() => events.length > 0);
  const [name, gap] = events[0];
  assert.equal(name, "gap");
  assert.deepEqual({ ...gap, reason: gap.reason.length > 0 }, {
    kind: "smessage",
    channel,
    pattern: null,
    reason: true,
    node: gap.node,
  });
  await eventually(async () => {
    await rc.spublish(channel, "after").catch(() => {});
    await delay(20);
    return events.some(([each]) => each === "smessage");
  });
  assert.deepEqual(events.find(([each]) => each === "smessage").slice(1), [channel, "after"]);
});
