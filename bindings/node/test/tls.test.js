"use strict";

const assert = require("node:assert/strict");
const path = require("node:path");
const { test } = require("node:test");
const { certificates, run } = require("./support");

test("tls_cluster_is_reached_and_its_certificates_are_verified", { timeout: 120_000 }, async (t) => {
  const [cert, key, ca] = await certificates(t);
  const script = `
    const { Cluster, TLSError } = require("rediscluster");
    const seeds = process.env.RDC_URL.match(/\\d+(?=,|$)/g).map((port) => ({ host: "127.0.0.1", port: Number(port) }));
    (async () => {
      const rc = new Cluster(seeds, { redisOptions: { tls: {} }, tls_ca_file: ${JSON.stringify(ca)} });
      await Promise.all(Array.from({ length: 100 }, (_, i) => rc.set("node:tls:" + i, i)));
      const values = await Promise.all(Array.from({ length: 100 }, (_, i) => rc.get("node:tls:" + i)));
      console.log(values.every((value, i) => value === String(i)));
      const strict = new Cluster(seeds, { redisOptions: { tls: {} }, timeout_ms: 2000 });
      console.log(await strict.get("k").catch((error) => error instanceof TLSError && error.code));
      const lax = new Cluster(seeds, { redisOptions: { tls: { rejectUnauthorized: false } } });
      console.log(await lax.get("node:tls:1"));
    })();`;
  const args = ["run", "--tls", cert, key, ca, "--", process.execPath, "-e", script];
  const { output, status } = await run(process.env.RDC_CLUSTER, args, {
    cwd: path.join(__dirname, ".."),
    seconds: 110,
  });
  assert.deepEqual({ output, status }, { output: "true\nTLS\n1\n", status: 0 });
});
