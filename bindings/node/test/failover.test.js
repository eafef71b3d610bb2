"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { client, control } = require("./support");

// The surviving primaries refuse commands while the cluster is down, and begin to execute them in the middle of a batch.
// Commands of a slot keep their order, so that a refused one is not sent again behind a later one that has run.
const overtaken = (result) =>
  result.reason?.code === "DOWN" &&
  result.reason.sent === false &&
  /^CLUSTERDOWN .*\(not sent again: a later command of its slot has run\)$/.test(result.reason.message);

test("failover_under_load_completes_each_command_once_without_a_wrong_reply", { timeout: 120_000 }, async (t) => {
  const rc = client(t, { retry_writes: true, timeout_ms: 20_000, attempt_timeout_ms: 1000 });
  const [port] = await control("primary-of", "key:node:failover:0");
  t.after(() => control("wait-healthy"));
  let completed = 0;
  let submitted = 0;
  let running = true;
  const wrong = [];
  const refused = [];
  const lane = async (i) => {
    const key = `node:failover:${i}`;
    let written = false;
    for (let round = 0; running; round++) {
      submitted += 2;
      const [set, got] = await Promise.allSettled([rc.set(key, `${key} ${round}`), rc.get(key)]);
      completed += 2;
      refused.push(...[set, got].filter(overtaken));
      if (set.value === "OK") written = true;
      const isRead = overtaken(got) || got.value?.startsWith(`${key} `) || (!written && got.value === null);
      if ((set.value !== "OK" && !overtaken(set)) || !isRead) wrong.push([key, set, got]);
    }
  };
  // 10,000 commands in flight.
  const lanes = Array.from({ length: 5000 }, (_, i) => lane(i));
  const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  await delay(500);
  assert.equal(rc.inFlight >= 5000, true);
  await control("kill", port);
  await delay(6000);
  await control("restart", port);
  await delay(500);
  running = false;
  await Promise.all(lanes);
  assert.deepEqual(wrong.slice(0, 3), []);
  assert.equal(completed, submitted);
  assert.ok(refused.length < submitted / 100, `${refused.length} of ${submitted} were refused`);
  assert.equal(rc.inFlight, 0);
});
