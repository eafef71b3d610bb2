"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { test } = require("node:test");
const { run } = require("./support");

/** An authority, and a certificate for 127.0.0.1 that it signed. */
async function certificates(t) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "rediscluster-"));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  fs.writeFileSync(path.join(folder, "names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n");
  const openssl = async (...args) => {
    const { output, status } = await run("openssl", args, { cwd: folder });
    assert.equal(status, 0, output);
  };
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  await openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2");
  await openssl("req", ...key, "-keyout", "node.key", "-out", "node.csr", "-subj", "/CN=node");
  const sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2"];
  await openssl("x509", "-req", "-in", "node.csr", ...sign, "-out", "node.pem");
  return ["node.pem", "node.key", "ca.pem"].map((file) => path.join(folder, file));
}

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
