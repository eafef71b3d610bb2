"use strict";
// All code of README.md runs as it is printed there, and prints what its comments say: `expression; // => value`.
// Only addresses and paths are replaced.

const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { test } = require("node:test");
const { URL, certificates, run, temporary } = require("./support");

const binding = path.join(__dirname, "..");
const readme = fs.readFileSync(path.join(binding, "README.md"), "utf8");
const BLOCKS = [...readme.matchAll(/^```(?:js|javascript|ts|typescript)\n(.*?)^```$/gms)].map((match) => match[1]);
const SEED = process.env.RDC_SEEDS.split(",")[0];
const [HOST, PORT] = SEED.split(":");
const START = `import { Cluster } from "rediscluster"; const cluster = new Cluster(${JSON.stringify(URL)});\n`;

/**
 * For each block, how it begins, what a program around it does before and after it and prints in addition, and how to
 * change code that uses nothing of what it makes.
 */
const PROGRAMS = {
  session: { begins: 'import { Cluster } from "rediscluster";\n' },
  connecting: {
    begins: "new Cluster([{ host",
    before: `${START} await cluster.callTo("all", "ACL", "SETUSER", "app", "on", ">p@ss", "+@all");
      const answers = (...args) => new Cluster(...args).ping().then((answer) => console.log(answer));\n`,
    change: (code) => code.replaceAll(/^new Cluster/gm, "await answers"),
    after: 'await cluster.callTo("all", "ACL", "DELUSER", "app");',
    prints: ["PONG", "PONG", "PONG"],
  },
  tls: {
    begins: "const secure",
    before: `import { Cluster } from "rediscluster";
      const admin = new Cluster(process.env.RDC_URL, { tls_ca_file: "/etc/redis/ca.pem" });
      await admin.callTo("all", "ACL", "SETUSER", "app", "on", ">secret", ">next", "~app:*", "+@all");\n`,
  },
  pipelines: {
    begins: "const [[, value], [error]]",
    before: `${START} await cluster.set("a", "x"); await cluster.del("{user:1}a", "{user:1}b");\n`,
    after: 'await cluster.del("a", "{user:1}a", "{user:1}b");',
  },
  watch: { begins: "const pinned", before: `${START} await cluster.set("account", 2);\n` },
  messages: {
    begins: 'cluster.on("message"',
    before: `${START} const catchUp = (channel) => console.log("gap", channel);\n`,
    after: `const heard = new Promise((resolve) => cluster.once("message", resolve));
      await cluster.publish("news", "hello"); await heard; await cluster.quit();`,
    prints: ["news hello"],
  },
  errors: {
    begins: "async function bill",
    before: `${START} await cluster.set("foo16706", "bar"); await cluster.set("account", 5);
      const queueForLater = (account, amount) => console.log("later", account, amount);\n`,
    after: `console.log(await bill("account", 2)); await bill("foo16706", 2).catch((error) => console.log(error.sent));
      await cluster.quit(); await bill("account", 2);`,
    prints: ["3", "true", "later account 2"],
  },
  shutdown: {
    begins: "process.once",
    before: START,
    after: `await cluster.connect(); const last = cluster.blpop("node:nothing", 0.2);
      process.kill(process.pid, "SIGTERM"); console.log(await last);
      setTimeout(() => cluster.ping().catch((error) => console.log(error.name)), 100);`,
    prints: ["null", "closed", "ClosedError"],
  },
  workers: { begins: "import { Worker", prints: ["bar"] },
};

/** The only block that begins with this text. */
function block(begins) {
  const found = BLOCKS.filter((text) => text.startsWith(begins));
  assert.equal(found.length, 1, begins);
  return found[0];
}

/** The program around a block that prints its results, and the lines that it shall print. */
function program({ begins, before = "", change = (code) => code, after = "", prints = [] }) {
  const expected = [];
  const printing = block(begins).replace(/^(?!const|let|import)(.*);\s*\/\/ => (.*?)(?:; .*)?$/gm, (_, code, value) => {
    expected.push(value);
    return `console.log(${code});`;
  });
  return { text: before + change(printing) + after, expected: [...expected, ...prints] };
}

/** Runs a program beside an installed package, in the cluster of these words before the command. */
async function prints(t, { text, expected }, cluster = []) {
  const folder = temporary(t);
  fs.mkdirSync(path.join(folder, "node_modules"));
  fs.symlinkSync(binding, path.join(folder, "node_modules", "rediscluster"));
  fs.writeFileSync(path.join(folder, "program.mjs"), text);
  const [command, ...args] = [...cluster, process.execPath, "program.mjs"];
  const { output, status } = await run(command, args, { cwd: folder });
  assert.deepEqual({ lines: output.trim().split("\n"), status }, { lines: expected, status: 0 });
}

test("readme_has_no_code_that_is_not_run", () => {
  const begins = Object.values(PROGRAMS).map((program) => program.begins);
  for (const text of BLOCKS) assert.ok(begins.some((begin) => text.startsWith(begin)), text);
});

for (const [name, description] of Object.entries(PROGRAMS).filter(([name]) => name !== "tls")) {
  test(`readme_${name}_runs_and_prints_what_it_says`, { timeout: 60_000 }, async (t) => {
    const { text, expected } = program(description);
    assert.ok(expected.length > 0);
    const here = text
      .replaceAll("127.0.0.1", HOST)
      .replace(/\b7000\b(?=[ }])/g, PORT)
      .replaceAll(/node[12]:7000/g, SEED)
      .replaceAll("node1", HOST)
      .replaceAll("/run/redis.sock", process.env.RDC_SINGLE_SOCKET);
    await prints(t, { text: here, expected });
  });
}

test("readme_tls_runs_and_prints_what_it_says", { timeout: 60_000 }, async (t) => {
  const [cert, key, ca] = await certificates(t);
  const { text, expected } = program(PROGRAMS.tls);
  const here = text
    .replaceAll("/etc/redis/ca.pem", ca)
    .replace('"rediss://app:secret@127.0.0.1:7000"', 'process.env.RDC_URL.replace("//", "//app:secret@")');
  await prints(t, { text: here, expected }, [process.env.RDC_CLUSTER, "run", "--tls", cert, key, ca, "--"]);
});
