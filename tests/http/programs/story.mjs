// Enqueues and works through the client of one file, and checks what comes of it. Arguments: address, the client's file.

import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

const { Client, Worker, Dead, Snooze, WindlassError } = await import(pathToFileURL(process.argv[3]).href);
const url = process.argv[2];
const client = new Client(url);
const worker = new Worker(url, { queues: ["typescript"], concurrency: 4, name: "typescript worker" });
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
let snoozed = false;

worker
  .handle("double", async (payload, job) => {
    await job.progress(50, "half");
    return { doubled: payload.n * 2, token: job.token.delivery > 0 };
  })
  .handle("flaky", (_, job) => {
    if (job.attempt === 1) throw new Error("the first time never works");
    return job.attempt;
  })
  .handle("hopeless", () => {
    throw new Dead("no such customer");
  })
  .handle("later", (_, job) => {
    if (!snoozed) {
      snoozed = true;
      throw new Snooze(200);
    }
    return job.attempt;
  })
  .handle("long", async (ms, job) => {
    await sleep(ms);
    return job.attempt;
  })
  .handle("endless", async (_, job) => {
    await new Promise((stopped) => job.signal.addEventListener("abort", stopped));
    throw new Error("stopped");
  });

const enqueue = (kind, payload, options) => client.enqueue(kind, payload, { queue: "typescript", ...options });
const running = worker.run();
const jobs = {
  double: await enqueue("double", { n: 21 }),
  flaky: await enqueue("flaky", null, { backoff: { policy: "fixed", delay_ms: 50 } }),
  hopeless: await enqueue("hopeless", null, { tags: ["vip"] }),
  later: await enqueue("later"),
  long: await enqueue("long", 7_000),
};
const key = { key: "order-1" };
assert.equal(await enqueue("double", { n: 1 }, key), await enqueue("double", { n: 1 }, key));
const end = {};
for (const [kind, id] of Object.entries(jobs)) end[kind] = await client.wait(id, 40_000);
assert.deepEqual(end.double.result, { doubled: 42, token: true });
assert.equal(end.flaky.result, 2);
assert.match(end.flaky.attempts[0].error, /first time/);
assert.equal(end.hopeless.state, "dead");
assert.equal(end.later.result, 1);
// Longer than a lease, kept by heartbeats.
assert.deepEqual([end.long.result, end.long.attempts.length], [1, 1]);
const found = [];
for await (const job of client.jobs("state:dead tag:vip kind:hope* error:customer")) found.push(job.id);
assert.deepEqual(found, [jobs.hopeless]);
const endless = await enqueue("endless");
while ((await client.job(endless)).state !== "running") await sleep(50);
await client.request("POST", `/jobs/${endless}/cancel`);
assert.equal((await client.wait(endless, 20_000)).state, "cancelled");
assert.deepEqual((await client.request("GET", "/workers")).map((known) => known.name), ["typescript worker"]);
worker.stop();
await running;
assert.deepEqual(await client.request("GET", "/workers"), []);
await assert.rejects(client.enqueue(""), (error) => error instanceof WindlassError && error.code === "invalid");
console.log("the story of the TypeScript client ends well");
