"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { clientOptions } = require("../lib/options");
const { Cluster } = require("rediscluster");
const { client } = require("./support");

/** The options of the library that the constructor's arguments become. The last value of a name counts. */
function options(nodes, given = {}) {
  const { options: list } = clientOptions(nodes, given);
  const found = {};
  for (let i = 0; i < list.length; i += 2) found[list[i]] = list[i + 1];
  return found;
}

const node = { host: "h", port: 7000 };
const plain = { url: "redis://h:7000", protocol: "2", lazy: "yes" };

test("nodes_of_every_form_become_a_url", () => {
  const nodes = [node, { port: 1 }, { host: "::1", port: "2" }, 3, "4", "a:5", "redis://b:6/", { host: "c" }];
  assert.equal(options(nodes).url, "redis://h:7000,127.0.0.1:1,[::1]:2,127.0.0.1:3,127.0.0.1:4,a:5,b:6,c:6379");
  assert.equal(options("redis://h:7000?timeout_ms=5").url, "redis://h:7000?timeout_ms=5");
  assert.equal(options(["rediss://h:7000"]).url, "rediss://h:7000");
  assert.equal(options(["unix:///run/redis.sock"]).url, "unix:///run/redis.sock");
  assert.deepEqual(options([{ ...node, username: "u", password: "p" }]), { ...plain, user: "u", password: "p" });
  assert.throws(
    () =>
      options([
        { ...node, password: "p" },
        { ...node, password: "q" },
      ]),
    /different options/,
  );
});

test("options_of_ioredis_become_options_of_the_library", () => {
  const rows = [
    [{ scaleReads: "slave" }, { read_from: "replica" }],
    [{ scaleReads: "all" }, { read_from: "any" }],
    [{ scaleReads: "master" }, { read_from: "primary" }],
    [{ maxRedirections: 3 }, { max_redirects: "3" }],
    [{ natMap: { "10.0.0.1:6379": { host: "::1", port: 7 } } }, { address_map: "10.0.0.1:6379=[::1]:7" }],
    [{ redisOptions: { username: "u", password: "p", db: 3 } }, { user: "u", password: "p", database: "3" }],
    [
      { redisOptions: { connectTimeout: 1, commandTimeout: 2, socketTimeout: 3, keepAlive: 4 } },
      { connect_timeout_ms: "1", timeout_ms: "2", attempt_timeout_ms: "3", keepalive_ms: "4" },
    ],
    [{ redisOptions: { connectionName: "n", protocol: 3 } }, { client_name: "n" }],
    [{ redisOptions: { replyMapping: "resp3" } }, { protocol: "3" }],
    [
      { redisOptions: { tls: { servername: "s", rejectUnauthorized: false } } },
      { url: "rediss://h:7000", tls_server_name: "s", tls_insecure_skip_verify: "yes" },
    ],
    [{ tls: true }, { url: "rediss://h:7000" }],
    [{ tls: false }, {}],
    [{ enableAutoPipelining: false, slotsRefreshInterval: 5, redisOptions: { maxRetriesPerRequest: null } }, {}],
    [{ enableOfflineQueue: true, redisOptions: { family: 0, keyPrefix: "" } }, {}],
    [
      { timeout_ms: 9, readonly: true, nil: "verify" },
      { timeout_ms: "9", readonly: "yes", nil: "verify" },
    ],
    [{ redisOptions: { commandTimeout: 5 }, timeout_ms: 6 }, { timeout_ms: "6" }],
  ];
  for (const [given, wanted] of rows)
    assert.deepEqual(options([node], given), { ...plain, ...wanted }, JSON.stringify(given));
});

test("options_without_counterpart_are_refused_with_a_reason", () => {
  const rows = [
    [{ keyPrefix: "p" }, /keyPrefix.*put the prefix into the keys/],
    [{ redisOptions: { keyPrefix: "p" } }, /redisOptions\.keyPrefix/],
    [{ clusterRetryStrategy: () => 1 }, /clusterRetryStrategy.*timeout_ms/],
    [{ dnsLookup: () => {} }, /dnsLookup.*resolves names/],
    [{ scaleReads: () => {} }, /scaleReads is a function/],
    [{ scaleReads: "replica" }, /scaleReads is replica: pass "master"/],
    [{ natMap: () => {} }, /natMap is a function/],
    [{ tls: { ca: "PEM" } }, /tls\.ca.*tls_ca_file/],
    [{ enableOfflineQueue: false }, /enableOfflineQueue/],
    [{ redisOptions: { host: "h" } }, /redisOptions\.host.*first argument/],
    [{ redisOptions: { replyMapping: "x" } }, /replyMapping/],
    [{ protocol: 4 }, /protocol is 4/],
    [{ password: "a\0b" }, /password contains a NUL/],
    [{ redisOptions: { lazy_connect: 1 } }, /lazy_connect/],
  ];
  for (const [given, message] of rows) {
    assert.throws(
      () => new Cluster([node], given),
      { name: "InvalidError", code: "INVALID", message },
      JSON.stringify(given),
    );
  }
});

test("scale_reads_sends_reads_to_replicas", async (t) => {
  const rc = client(t, { scaleReads: "slave" });
  await rc.set("node:scaled", 1);
  await rc.get("node:scaled");
  assert.equal(rc.explain("GET", "node:scaled").read_from, "replica");
});

test("single_server_and_its_databases_are_reached", async (t) => {
  const single = process.env.RDC_SINGLE_URL;
  const rc = client(t, { db: 3 }, single);
  assert.equal(await rc.mset("node:x", 1, "node:y", 2), "OK");
  assert.deepEqual(await rc.multi().incr("node:x").incr("node:y").exec(), [
    [null, 2],
    [null, 3],
  ]);
  const other = client(t, {}, `unix://${process.env.RDC_SINGLE_SOCKET}?database=3`);
  assert.equal(await other.get("node:x"), "2");
  assert.equal(await client(t, {}, single).get("node:x"), null);
});
