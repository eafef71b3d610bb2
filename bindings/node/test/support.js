"use strict";
// What the tests share. They use the cluster at RDC_URL, which `cluster run` starts.

const { spawn } = require("node:child_process");
const fs = require("node:fs");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");
const { Cluster } = require("rediscluster");

const URL = process.env.RDC_URL;
if (!URL) throw new Error("RDC_URL is not set, so there is no cluster to test with: run `make test-node`");

/** A client that is closed when the test ends. */
function client(t, options = {}, nodes = URL) {
  const cluster = new Cluster(nodes, options);
  t.after(() => cluster.disconnect());
  return cluster;
}

/** Runs a command of the control socket of the cluster, and returns the lines that `cluster ctl` would print. */
function control(...words) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(process.env.RDC_CONTROL);
    let received = "";
    socket.on("error", reject);
    socket.on("close", () => reject(new Error(`ctl ${words.join(" ")}: the socket closed`)));
    socket.on("data", (data) => {
      received += data;
      const lines = received.split("\n");
      const last = lines.at(-2);
      if (last !== "ok" && !last?.startsWith("error ")) return;
      socket.end();
      if (last === "ok") resolve(lines.slice(0, -2));
      else reject(new Error(`ctl ${words.join(" ")}: ${last}`));
    });
    socket.write(`${words.join(" ")}\n`);
  });
}

/** Waits until `condition` returns, or resolves to, a true value. */
async function eventually(condition, seconds = 20) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const result = await condition();
    if (result) return result;
    if (Date.now() > deadline) throw new Error(`the condition was not true within ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Runs a program, and resolves to its output and exit status. */
function run(command, args, { seconds = 60, ...options } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    let output = "";
    const limit = setTimeout(() => child.kill("SIGKILL"), seconds * 1000);
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (output += data));
    child.on("error", reject);
    child.on("close", (status, signal) => {
      clearTimeout(limit);
      resolve({ output, status: status ?? signal });
    });
  });
}

/** A folder that is deleted when the test ends. */
function temporary(t) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "rediscluster-"));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  return folder;
}

/** The paths of a certificate for 127.0.0.1, its key, and the authority that signed it. */
async function certificates(t) {
  const folder = temporary(t);
  const script = path.join(__dirname, "..", "..", "examples", "certificates.sh");
  const { output, status } = await run("sh", [script, folder]);
  if (status !== 0) throw new Error(output);
  return ["node.pem", "node.key", "ca.pem"].map((file) => path.join(folder, file));
}

/** Runs a script in a Node process of its own. `Cluster` and `url` are defined there. */
function runNode(script, { flags = [], ...options } = {}) {
  const prelude = `const url = ${JSON.stringify(URL)}; const { Cluster } = require("rediscluster");`;
  return run(process.execPath, [...flags, "-e", prelude + script], { cwd: path.join(__dirname, ".."), ...options });
}

/** The connections that a node executes a blocking command for. */
async function blockedClients(port) {
  const [info] = await control("command", port, "INFO", "clients");
  return Number(info.match(/blocked_clients:(\d+)/)[1]);
}

/** The nodes of a server that accepts connections and never answers. */
async function silentServer(t) {
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    t.after(() => socket.destroy());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  return [{ host: "127.0.0.1", port: server.address().port }];
}

module.exports = {
  URL,
  blockedClients,
  certificates,
  client,
  control,
  eventually,
  run,
  runNode,
  silentServer,
  temporary,
};
