"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { Cluster } = require("rediscluster");
const { blockedClients, client, control, eventually } = require("./support");

const nameOf = ({ options }) => `${options.host}:${options.port}`;
const keys = Array.from({ length: 300 }, (_, i) => `node:nodes:${i}`);

/** A client of a cluster that contains the keys and no others. */
async function filled(t) {
  const rc = client(t);
  await rc.flushall();
  await Promise.all(keys.map((key) => rc.set(key, "value")));
  return rc;
}

test("callto_runs_a_command_at_the_selected_nodes", async (t) => {
  const rc = await filled(t);
  const [port] = await control("primary-of", `key:${keys[0]}`);
  for (const where of [`127.0.0.1:${port}`, `key:${keys[0]}`, `slot:${Cluster.keySlot(keys[0])}`]) {
    assert.deepEqual(await rc.callTo(where, "config", "GET", "port"), ["port", port]);
  }
  const sizes = await rc.callTo("primaries", "DBSIZE");
  assert.equal(Object.keys(sizes).length, 3);
  assert.equal(
    Object.values(sizes).reduce((sum, size) => sum + size),
    keys.length,
  );
  assert.equal(Object.keys(await rc.callTo("all", "PING")).length, 6);
  assert.equal(await rc.callTo("random", "ECHO", ["ü"]), "ü");
  assert.deepEqual(await rc.callToBuffer("random", "ECHO", Buffer.from([0, 255])), Buffer.from([0, 255]));
  assert.deepEqual(await rc.callToBuffer("random", "ECHO", new Uint8Array()), Buffer.alloc(0));
});

test("callto_has_the_errors_of_all_commands", async (t) => {
  const rc = await filled(t);
  const where = `key:${keys[0]}`;
  const invalid = { name: "InvalidError", code: "INVALID", sent: false };
  await assert.rejects(rc.callTo("nowhere", "PING"), { ...invalid, message: /"nowhere" selects no node/ });
  await assert.rejects(rc.callTo("all", "ECHO", {}), { name: "TypeError", message: /an argument of ECHO/ });
  await assert.rejects(rc.callTo(where, "INCR", keys[0]), { name: "ReplyError", sent: true });
  // Only one primary has the key. The others' errors are elements of the result.
  const found = Object.values(await rc.callTo("primaries", "GET", keys[0]));
  assert.equal(found.filter((value) => value === "value").length, 1);
  assert.equal(found.filter((value) => value instanceof Error && value.code === "MOVED").length, 2);
  const called = await new Promise((resolve) => rc.callTo(where, "GET", keys[0], (...args) => resolve(args)));
  assert.deepEqual(called, [null, "value"]);
  rc.disconnect();
  await assert.rejects(rc.callTo("all", "PING"), { name: "ClosedError", sent: false });
});

test("callto_is_given_up_when_its_signal_is_aborted", async (t) => {
  const rc = client(t);
  await rc.del("node:list");
  const [port] = await control("primary-of", "key:node:list");
  const controller = new AbortController();
  const pending = rc.callTo("key:node:list", "BLPOP", "node:list", 30, { signal: controller.signal });
  const rejected = assert.rejects(pending, { name: "AbortError", sent: true });
  await eventually(async () => (await blockedClients(port)) === 1);
  controller.abort();
  await rejected;
  await eventually(async () => (await blockedClients(port)) === 0);
  await assert.rejects(rc.callTo("all", "PING", { signal: controller.signal }), { name: "AbortError", sent: false });
});

test("callto_connects_a_client_that_has_not_connected", async (t) => {
  const rc = client(t, { lazyConnect: true });
  assert.deepEqual(rc.nodes(), []);
  assert.equal(Object.keys(await rc.callTo("primaries", "PING")).length, 3);
  assert.equal(rc.nodes().length, 6);
});

test("nodes_have_the_commands_of_the_client", async (t) => {
  const rc = await filled(t);
  const [masters, slaves, all] = ["master", "slave", "all"].map((role) => rc.nodes(role));
  assert.deepEqual([masters.length, slaves.length, all.length, rc.nodes().length], [3, 3, 6, 6]);
  assert.deepEqual([...masters, ...slaves].map(nameOf).sort(), all.map(nameOf).sort());
  for (const node of all) {
    assert.deepEqual(await node.config("GET", "port"), ["port", String(node.options.port)]);
    assert.equal((await node.callBuffer("ECHO", "text")).toString(), "text");
  }
  const roles = await Promise.all(all.map(async (node) => (await node.role())[0]));
  assert.equal(roles.filter((role) => role === "master").length, 3);
  assert.throws(() => rc.nodes("primary"), { name: "InvalidError", message: /primary is not a role/ });
  assert.throws(() => rc.nodes("toString"), { name: "InvalidError" });
});

test("scan_streams_of_all_primaries_return_every_key_once", async (t) => {
  const rc = await filled(t);
  const found = [];
  for (const node of rc.nodes("master")) {
    let own = 0;
    for await (const some of node.scanStream({ count: 20 })) {
      found.push(...some);
      own += some.length;
    }
    assert.equal(own, await node.dbsize());
  }
  assert.deepEqual(found.sort(), [...keys].sort());
});

test("node_of_a_single_server_is_its_only_one", async (t) => {
  const [host, port] = process.env.RDC_SINGLE_URL.split("//")[1].split(":");
  const servers = [
    [process.env.RDC_SINGLE_URL, { host, port: Number(port) }],
    [`unix://${process.env.RDC_SINGLE_SOCKET}`, { path: process.env.RDC_SINGLE_SOCKET }],
  ];
  for (const [url, options] of servers) {
    const rc = client(t, {}, url);
    await rc.connect();
    const [node, ...others] = rc.nodes("master");
    assert.deepEqual([node.options, others, rc.nodes("slave")], [options, [], []]);
    assert.equal(await node.ping(), "PONG");
  }
});
