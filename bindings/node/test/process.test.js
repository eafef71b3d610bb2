"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { runNode } = require("./support");

const ended = (output) => ({ output: `${output}\n`, status: 0 });

test("process_with_an_idle_open_client_ends_by_itself", async () => {
  const script = `
    const rc = new Cluster(url);
    const lazy = new Cluster(url, { lazyConnect: true });
    rc.get("node:none").then((value) => console.log(value));`;
  assert.deepEqual(await runNode(script), ended("null"));
});

test("command_in_flight_keeps_the_process_alive", async () => {
  const script = `new Cluster(url).blpop("node:nothing", 0.5).then(console.log);`;
  assert.deepEqual(await runNode(script), ended("null"));
});

test("process_ends_after_quit_and_after_disconnect", async () => {
  const script = `
    (async () => {
      const rc = new Cluster(url);
      rc.on("end", () => console.log("end"));
      rc.set("node:quit", 1).then(console.log);
      console.log(await rc.quit());
      const other = new Cluster(url);
      await other.connect();
      other.blpop("node:nothing", 20).catch((error) => console.log(error.code));
      setTimeout(() => other.disconnect(), 50);
    })();`;
  assert.deepEqual(await runNode(script), ended("OK\nOK\nend\nCLOSED"));
});

test("process_exit_with_commands_in_flight_is_immediate", async () => {
  const script = `
    const rc = new Cluster(url);
    rc.connect().then(() => {
      for (let i = 0; i < 100; i++) rc.blpop("node:nothing" + i, 20);
      setTimeout(() => { console.log("end"); process.exit(3); }, 50);
    });`;
  assert.deepEqual(await runNode(script), { output: "end\n", status: 3 });
});

test("exception_in_a_callback_is_uncaught_and_the_client_goes_on", async () => {
  const script = `
    const rc = new Cluster(url);
    process.on("uncaughtException", (error) => console.log("uncaught", error.message));
    rc.get("node:none", () => { throw new Error("mine"); });
    rc.get("node:none").then(() => setTimeout(() => rc.ping().then(console.log), 20));`;
  assert.deepEqual(await runNode(script), ended("uncaught mine\nPONG"));
});

test("workers_and_the_main_thread_have_clients_of_their_own", async () => {
  const script = `
    const { Worker } = require("node:worker_threads");
    const work = async (name) => {
      const rc = new Cluster(url);
      const keys = Array.from({ length: 500 }, (_, i) => "node:worker:" + name + ":" + i);
      for (let round = 0; round < 5; round++) {
        await Promise.all(keys.map((key) => rc.set(key, key + round)));
        const values = await Promise.all(keys.map((key) => rc.get(key)));
        if (!values.every((value, i) => value === keys[i] + round)) throw new Error("a wrong reply");
      }
      return name;
    };
    const source = "const url = " + JSON.stringify(url) + '; const { Cluster } = require("rediscluster");' +
      "const work = " + work + '; const { parentPort, workerData } = require("node:worker_threads");' +
      "work(workerData).then((name) => parentPort.postMessage(name));";
    const workers = [1, 2, 3, 4].map((workerData) => new Promise((resolve, reject) => {
      const worker = new Worker(source, { eval: true, workerData });
      worker.on("message", resolve);
      worker.on("error", reject);
    }));
    Promise.all([...workers, work("main")]).then((names) => console.log(names.join(" ")));`;
  assert.deepEqual(await runNode(script), ended("1 2 3 4 main"));
});

test("terminated_worker_leaves_its_commands_and_the_process_goes_on", async () => {
  const script = `
    const { Worker } = require("node:worker_threads");
    const source = "const url = " + JSON.stringify(url) + '; const { Cluster } = require("rediscluster");' +
      'const { parentPort } = require("node:worker_threads"); const rc = new Cluster(url);' +
      "const loop = async (i) => { const key = 'node:terminated:' + i; for (;;) { await rc.set(key, i);" +
      "await rc.pipeline().get(key).lpush(key, 1).exec(); await rc.lpush(key, 1).catch(() => {}); } };" +
      "rc.connect().then(() => { for (let i = 0; i < 200; i++) loop(i); rc.blpop('node:nothing', 20);" +
      "parentPort.postMessage(1); });";
    (async () => {
      const rc = new Cluster(url);
      await rc.ping();
      for (let i = 0; i < 40; i++) {
        const worker = new Worker(source, { eval: true });
        await new Promise((resolve) => worker.once("message", resolve));
        await new Promise((resolve) => setTimeout(resolve, i % 10));
        await worker.terminate();
      }
      console.log(await rc.ping());
    })();`;
  assert.deepEqual(await runNode(script), ended("PONG"));
});
