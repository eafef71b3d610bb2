"use strict";
// Compares rediscluster with ioredis's Cluster, in the cluster of RDC_URL and RDC_SEEDS:
//
//     cargo run -q -p support --bin cluster -- run -- node bench/bench.js [ROUNDS] [--json]
//
// RDC_NODE_ADDON names the addon, and RDC_NODE_MODULES the folder into which `npm install` has put this folder's
// package.json. The clients alternate, so that other load on the machine affects both. The result is the median of the
// ratios of a round.

const { createRequire } = require("node:module");
const path = require("node:path");
const ours = require("..");

const installed = createRequire(path.resolve(process.env.RDC_NODE_MODULES ?? __dirname, "package.json"));
const ioredis = installed("ioredis");
const { version } = installed("ioredis/package.json");

const json = process.argv.includes("--json");
const rounds = Number(process.argv.slice(2).find((argument) => /^\d+$/.test(argument)) ?? 9);
const VALUE = "x".repeat(32);
const KEYS = Array.from({ length: 1000 }, (_, i) => `bench:${i}`);
// A pipeline of ioredis needs the keys of one node.
const TAGGED = KEYS.map((key) => `{bench}${key}`);

/** Keeps `width` promises in flight until `count` commands are done. */
async function concurrently(width, count, command) {
  let next = 0;
  const one = async () => {
    while (next < count) await command(next++);
  };
  await Promise.all(Array.from({ length: width }, one));
}

const get = (width) => (client, count) => concurrently(width, count, (i) => client.get(KEYS[i % 1000]));
const set = (width) => (client, count) => concurrently(width, count, (i) => client.set(KEYS[i % 1000], VALUE));

async function pipeline(client, count) {
  for (let done = 0; done < count; done += TAGGED.length) {
    const commands = client.pipeline();
    for (const key of TAGGED) commands.get(key);
    const results = await commands.exec();
    if (results[999][1] !== VALUE) throw new Error("a pipeline returned a wrong value");
  }
}

// Name, commands in a turn, work.
const WORKS = [
  ["GET, one promise at a time", 3_000, get(1)],
  ["GET, 100 promises", 40_000, get(100)],
  ["SET, 100 promises", 40_000, set(100)],
  ["GET, 1000 promises", 40_000, get(1000)],
  [
    "GETBUFFER, 100 promises",
    40_000,
    (client, count) => concurrently(100, count, (i) => client.getBuffer(KEYS[i % 1000])),
  ],
  [
    "LRANGE of 100, 100 promises",
    5_000,
    (client, count) => concurrently(100, count, () => client.lrange("bench:list", 0, -1)),
  ],
  ["pipeline of 1000 GETs", 40_000, pipeline],
];

/** Wall and CPU time of a turn, in microseconds per command. */
async function turn(work, client, count) {
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  await work(client, count);
  const wall = Number(process.hrtime.bigint() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { wall: wall / count, cpu: (user + system) / count };
}

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

async function compare(clients, [name, count, work]) {
  for (const { client } of clients) await turn(work, client, Math.ceil(count / 4));
  const times = clients.map(() => []);
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? [...clients.keys()] : [...clients.keys()].reverse();
    for (const i of order) times[i].push(await turn(work, clients[i].client, count));
  }
  const of = (i, field) => median(times[i].map((time) => time[field]));
  for (let i = 1; i < clients.length; i++) {
    const ratio = median(times[0].map((time, round) => times[i][round].wall / time.wall));
    const row = { peer: clients[i].name, work: name, wall: of(0, "wall"), cpu: of(0, "cpu") };
    print({ ...row, their_wall: of(i, "wall"), their_cpu: of(i, "cpu"), ratio });
  }
}

function print(row) {
  if (json) return console.log(JSON.stringify(row));
  const time = (wall, cpu) => `${wall.toFixed(2).padStart(7)} us (CPU ${cpu.toFixed(2).padStart(6)})`;
  console.log(
    `${row.work.padEnd(28)} ${time(row.wall, row.cpu)}`,
    `  ${row.peer} ${time(row.their_wall, row.their_cpu)}  x ${row.ratio.toFixed(2)}`,
  );
}

async function main() {
  const seeds = process.env.RDC_SEEDS.split(",").map((seed) => ({
    host: seed.split(":")[0],
    port: Number(seed.split(":")[1]),
  }));
  const clients = [
    { name: "rediscluster", client: new ours.Cluster(seeds) },
    { name: `ioredis ${version}`, client: new ioredis.Cluster(seeds) },
    {
      name: `ioredis ${version} (autopipelining)`,
      client: new ioredis.Cluster(seeds, { enableAutoPipelining: true }),
    },
  ];
  await clients[0].client.connect();
  await Promise.all([...KEYS, ...TAGGED].map((key) => clients[0].client.set(key, VALUE)));
  await clients[0].client.del("bench:list");
  await clients[0].client.rpush("bench:list", Array(100).fill(VALUE));
  for (const { name, client } of clients) {
    const values = await Promise.all([client.get("bench:7"), client.lrange("bench:list", 0, -1)]);
    if (values[0] !== VALUE || values[1].length !== 100) throw new Error(`${name} returned a wrong value`);
  }
  for (const work of WORKS) await compare(clients, work);
  for (const { client } of clients) await client.quit();
}

main();
