// faktory-worker and faktory-client from npm: push, work, fail, mutate, beat. Ends with status 0 when all is as it should be.
// Arguments: the server's address as host:port.
const assert = require("assert");
const [host, port] = process.argv[2].split(":");
process.env.FAKTORY_URL = `tcp://${host}:${port}`;
const faktory = require("faktory-worker");
const OldClient = require("faktory-client");

const until = async (what, ask) => {
  for (let i = 0; i < 300; i += 1) {
    if (await ask()) return;
    await new Promise((then) => setTimeout(then, 50));
  }
  throw new Error(`never came: ${what}`);
};

async function main() {
  const client = await faktory.connect();
  const seen = [];
  faktory.register("collect", async (...args) => void seen.push(args));
  faktory.register("fail", async () => { throw new TypeError("as it should"); });

  for (let n = 0; n < 10; n += 1) await client.job("collect", { n, text: "é\n" }).push();
  const refused = await client.pushBulk([client.job("collect", 10), client.job("collect", 11)]);
  assert.deepStrictEqual(refused, {});
  const failing = client.job("fail", 1);
  failing.retry = 3;
  await failing.push();
  const later = client.job("collect", "later");
  later.at = new Date(Date.now() + 3600e3).toISOString();
  await later.push();
  const dead = client.job("fail", 2);
  dead.retry = -1;
  dead.queue = "other";
  await dead.push();

  const worker = await faktory.work({ concurrency: 5, queues: ["default", "other"], timeout: 2 });
  await until("twelve jobs", () => seen.length === 12);
  await until("two failures", async () => {
    const { sets } = (await client.info()).faktory;
    return sets.retries === 1 && sets.dead === 1 && sets.scheduled === 1 && sets.working === 0;
  });
  assert.deepStrictEqual(seen.find(([arg]) => arg.n === 3), [{ n: 3, text: "é\n" }]);
  await client.scheduled.ofType("collect").requeue();
  await until("the one for later", () => seen.some(([arg]) => arg === "later"));
  await client.retries.withJids(failing.jid).kill();
  await until("two dead", async () => (await client.info()).faktory.sets.dead === 2);
  await client.dead.clear();
  assert.strictEqual((await client.info()).faktory.sets.dead, 0);
  assert.strictEqual((await client.info()).faktory.tasks.Workers.size, 1);
  await worker.stop();
  await client.close();

  // The old client writes without waiting.
  const old = new OldClient({ host, port: Number(port), wid: "old-client" });
  await old.connect();
  const jids = Array.from({ length: 50 }, (_, n) => `old-job-${n}`);
  const jobs = jids.map((jid) => old.push({ jid, jobtype: "x", queue: "old", args: [jid] }));
  assert.strictEqual((await Promise.all(jobs)).length, 50);
  assert.strictEqual(await old.beat(), "OK");
  for (const jid of jids) {
    const job = await old.fetch("old");
    assert.strictEqual(job.jid, jid);
    await old.ack(job.jid);
  }
  await old.close();
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
