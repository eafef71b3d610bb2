"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { runNode } = require("./support");

const flags = ["--expose-gc"];
const settle = `
  const settle = async () => {
    for (let i = 0; i < 5; i++) {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };`;

/** Runs rounds of commands in a process, and returns by how many MiB it grew between two of them. */
async function growth(round, { before, after }) {
  const { output, status } = await runNode(
    `${settle}
    const round = ${round};
    (async () => {
      const rc = new Cluster(url);
      await rc.connect();
      for (let i = 0; i < ${before}; i++) await round(rc, i);
      await settle();
      const start = process.memoryUsage.rss();
      for (let i = 0; i < ${after}; i++) await round(rc, i);
      await settle();
      console.log((process.memoryUsage.rss() - start) / 2 ** 20);
    })();`,
    { flags, seconds: 300 },
  );
  assert.equal(status, 0, output);
  return Number(output);
}

test("memory_of_a_million_commands_is_freed", { timeout: 300_000 }, async () => {
  const round = `(rc, i) => Promise.all(Array.from({ length: 500 }, (_, j) => [
    rc.set("node:memory:" + j, "value ".repeat(20) + i), rc.get("node:memory:" + j),
  ]).flat())`;
  // A leaked pointer per command would be 8 MB; a leaked reply to GET, 60 MB.
  const grown = await growth(round, { before: 200, after: 1000 });
  assert.ok(grown < 8, `${grown} MiB`);
});

test("memory_of_replies_of_every_kind_is_freed", { timeout: 300_000 }, async () => {
  const round = `async (rc, i) => {
    const key = "node:memory:list";
    if (i === 0) { await rc.del(key); await rc.rpush(key, Array(500).fill("a value of fifty bytes".repeat(2))); }
    const controller = new AbortController();
    const aborted = rc.blpop("node:nothing", 20, { signal: controller.signal }).catch(() => {});
    controller.abort();
    await Promise.all([
      rc.lrange(key, 0, -1), rc.lrangeBuffer(key, 0, -1), rc.get(key).catch(() => {}), aborted,
      rc.pipeline().lrange(key, 0, 50).get(key).exec(), rc.multi().llen(key).exec(),
      rc.set("node:memory:big", "x".repeat(100_000)),
      rc.callTo("primaries", "ECHO", "x".repeat(1000)), rc.nodes("master")[0].dbsize(),
    ]);
    const derived = rc.with({ timeout_ms: 900 });
    await derived.get("node:none");
    derived.disconnect();
  }`;
  // A round returns about 70 kB.
  const grown = await growth(round, { before: 500, after: 1500 });
  assert.ok(grown < 25, `${grown} MiB`);
});

test("memory_and_connections_of_a_client_that_was_never_closed_are_freed", { timeout: 120_000 }, async () => {
  const script = `${settle}
    const use = async (i) => {
      const rc = new Cluster(url, { client_name: "node-forgotten" });
      await rc.set("node:forgotten", i);
    };
    const { control } = require("./test/support");
    const count = async () => {
      const ports = (await control("nodes")).map((line) => line.split(" ")[0]);
      const lists = await Promise.all(ports.map((port) => control("command", port, "CLIENT", "LIST")));
      return lists.flat().join("").split("name=node-forgotten").length - 1;
    };
    (async () => {
      for (let i = 0; i < 30; i++) await use(i);
      const open = await count();
      for (let i = 0; i < 100 && (await count()) > 0; i++) await settle();
      console.log(open > 0, await count());
    })();`;
  assert.deepEqual(await runNode(script, { flags }), { output: "true 0\n", status: 0 });
});

test("memory_of_messages_and_subscribers_is_freed", { timeout: 300_000 }, async () => {
  const round = `async (rc, i) => {
    const sub = rc.with({ timeout_ms: 5000 });
    let count = 0;
    const all = new Promise((resolve) => sub.on(i % 2 ? "smessage" : "smessageBuffer", () => ++count === 300 && resolve()));
    await sub.ssubscribe("node:memory:shard");
    const payload = "message ".repeat(100);
    await Promise.all(Array.from({ length: 300 }, () => rc.spublish("node:memory:shard", payload)));
    await all;
    sub.disconnect();
  }`;
  // Each round has 240 kB of messages.
  const grown = await growth(round, { before: 60, after: 200 });
  assert.ok(grown < 10, `${grown} MiB`);
});
