/**
 * Windlass over HTTP: enqueue jobs and work on them. One file without dependencies; runs as it is under Node 22.6 or later
 * (`--experimental-strip-types` before 23.6), Deno and Bun, and under Node 18 or later through any TypeScript compiler.
 *
 *     const client = new Client("http://127.0.0.1:7420");
 *     await client.enqueue("send_email", { to: "ada@example.org" }, { queue: "mail" });
 *
 *     const worker = new Worker("http://127.0.0.1:7420", { queues: ["mail"], concurrency: 4 });
 *     worker.handle("send_email", async (payload, job) => {
 *       await job.progress(50, "connected");
 *       return { sentTo: payload.to };          // the result; an exception is a failed attempt and is retried
 *     });
 *     await worker.run();                       // until worker.stop(); running jobs are finished first
 *
 * Copy this file into your project and change it as you like. It uses no syntax that needs more than its types taken off.
 */

const VERSION = "windlass-typescript/1";

/** Options of a job, as in the API. */
export interface JobOptions {
  queue?: string;
  id?: string;
  priority?: number;
  delay_ms?: number;
  run_at?: number | string;
  expires_in_ms?: number;
  timeout_ms?: number;
  max_attempts?: number;
  backoff?: object;
  retention_ms?: number;
  tags?: string[];
  headers?: Record<string, string>;
}

/** An answer that is an error. `code` is stable; `status` is 0 when nobody answered. */
export class WindlassError extends Error {
  status: number;
  code: string;
  retryAfterMs: number | undefined;

  constructor(status: number, code: string, detail: string, retryAfterMs?: number) {
    super(`${code}: ${detail}`);
    this.status = status;
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the same request may succeed later. */
  get isPassing(): boolean {
    return this.status === 0 || this.status === 429 || this.status === 503;
  }

  /** Whether the lease has ended: the job belongs to somebody else, and nothing that is done now counts. */
  get isStale(): boolean {
    return this.code === "stale_lease";
  }
}

/** Thrown by a handler: trying again is of no use. */
export class Dead extends Error {}

/** Thrown by a handler: run it again later; no attempt is used. */
export class Snooze extends Error {
  delayMs: number;

  constructor(delayMs: number) {
    super(`for ${delayMs} ms`);
    this.delayMs = delayMs;
  }
}

interface RequestOptions {
  headers?: Record<string, string>;
  timeoutMs?: number;
  patienceMs?: number;
  signal?: AbortSignal;
}

const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/** Makes requests. `patienceMs` is how long to go on when the server is busy or away. */
export class Client {
  #base: string;
  #headers: Record<string, string>;
  #patienceMs: number;

  constructor(url = "http://127.0.0.1:7420", options: { patienceMs?: number; headers?: Record<string, string> } = {}) {
    this.#base = new URL(url).href.replace(/\/$/, "") + "/api/v1";
    this.#headers = { "Content-Type": "application/json", ...options.headers };
    this.#patienceMs = options.patienceMs ?? 30_000;
  }

  /**
   * Enqueues a job and returns its id once it is on the disk. The same `key` again in the same queue makes no second job; without
   * one this call makes one of its own, so that its own repetitions are harmless.
   */
  async enqueue(kind: string, payload: unknown = null, options: JobOptions & { key?: string } = {}): Promise<string> {
    const { key, ...rest } = options;
    const headers: Record<string, string> = rest.id ? {} : { "Idempotency-Key": key ?? crypto.randomUUID() };
    return (await this.request("POST", "/jobs", { kind, payload, ...rest }, { headers })).id;
  }

  /** The job with its history. */
  job(id: string): Promise<any> {
    return this.request("GET", `/jobs/${id}`);
  }

  /** All jobs that satisfy a filter such as `state:dead error:"timed out" args.user.id:123`, page by page. */
  async *jobs(filter = "", limit = 100): AsyncGenerator<any> {
    let cursor: string | null = null;
    do {
      const query = new URLSearchParams({ filter, limit: String(limit), ...(cursor ? { cursor } : {}) });
      const page: any = await this.request("GET", `/jobs?${query}`);
      yield* page.jobs;
      cursor = page.next;
    } while (cursor);
  }

  /** Waits for the end of a job and returns it. */
  async wait(id: string, timeoutMs = 60_000): Promise<any> {
    const end = Date.now() + timeoutMs;
    for (;;) {
      const left = Math.max(0, Math.min(30_000, end - Date.now()));
      try {
        return await this.request("GET", `/jobs/${id}/wait?timeout_ms=${left}`, undefined, { timeoutMs: left + 10_000 });
      } catch (error) {
        if (!(error instanceof WindlassError) || error.status !== 504 || Date.now() >= end) throw error;
      }
    }
  }

  /** One request. What passes (busy, away) is tried again, with growing pauses, for as long as there is patience. */
  async request(method: string, path: string, body?: unknown, options: RequestOptions = {}): Promise<any> {
    const end = Date.now() + (options.patienceMs ?? this.#patienceMs);
    for (let pause = 100; ; pause = Math.min(pause * 2, 5_000)) {
      try {
        return await this.#once(method, path, body, options);
      } catch (error) {
        if (!(error instanceof WindlassError) || !error.isPassing) throw error;
        const wait = error.retryAfterMs ?? pause * (0.5 + Math.random());
        if (Date.now() + wait > end || options.signal?.aborted) throw error;
        await sleep(wait);
      }
    }
  }

  async #once(method: string, path: string, body: unknown, options: RequestOptions): Promise<any> {
    const timeout = AbortSignal.timeout(options.timeoutMs ?? 30_000);
    const stop = new AbortController();
    const abort = (): void => stop.abort();
    timeout.addEventListener("abort", abort);
    options.signal?.addEventListener("abort", abort);
    let answer: Response;
    let text: string;
    try {
      answer = await fetch(this.#base + path, {
        method,
        headers: { ...this.#headers, ...options.headers },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: stop.signal,
      });
      text = await answer.text();
    } catch (error) {
      throw new WindlassError(0, "unreachable", String((error as Error).cause ?? error));
    } finally {
      options.signal?.removeEventListener("abort", abort);
    }
    let said: any;
    try {
      said = text ? JSON.parse(text) : undefined;
    } catch {
      said = undefined;
    }
    if (answer.ok) return said;
    const after = Number(answer.headers.get("Retry-After"));
    const detail = said?.detail ?? `status ${answer.status}`;
    throw new WindlassError(answer.status, said?.code ?? "http", detail, after > 0 ? after * 1_000 : undefined);
  }
}

/** A job in the hands of a handler. */
export class Job {
  id: string;
  queue: string;
  kind: string;
  payload: any;
  attempt: number;
  maxAttempts: number;
  tags: string[];
  headers: Record<string, string>;
  /** Larger with every hand-out of this job; a system that keeps the largest one can refuse a late writer. */
  token: { epoch: number; delivery: number };
  lease: string;
  lost = false;
  #client: Client;
  #stop = new AbortController();

  constructor(client: Client, given: any) {
    this.#client = client;
    this.id = given.id;
    this.queue = given.queue;
    this.kind = given.kind;
    this.payload = given.payload;
    this.attempt = given.attempt;
    this.maxAttempts = given.max_attempts;
    this.tags = given.tags;
    this.headers = given.headers;
    this.token = given.token;
    this.lease = given.lease;
  }

  /** Aborted when the run should stop: somebody cancelled the job, or its lease is lost. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Says how far the run is. */
  async progress(percent: number, message = ""): Promise<void> {
    this.heard((await this.say("progress", { percent: Math.trunc(percent), message })).state);
  }

  /** Takes in how the lease stands. */
  heard(state: string): void {
    if (state === "held") return;
    this.lost = state === "lost";
    this.#stop.abort();
  }

  /** A word about the job. */
  say(verb: string, body: object): Promise<any> {
    return this.#client.request("POST", `/jobs/${this.id}/${verb}`, { lease: this.lease, ...body });
  }
}

export type Handler = (payload: any, job: Job) => unknown;

/** Fetches jobs, runs them, and keeps their leases alive while they run. */
export class Worker {
  client: Client;
  #queues: string[];
  #concurrency: number;
  #name: string;
  #id = crypto.randomUUID();
  #handlers = new Map<string, Handler>();
  #running = new Map<string, Job>();
  #stop = new AbortController();
  #heartbeatMs = 1_000;

  constructor(
    url = "http://127.0.0.1:7420",
    options: { queues?: string[]; concurrency?: number; name?: string; headers?: Record<string, string> } = {},
  ) {
    this.client = new Client(url, { headers: options.headers });
    this.#queues = options.queues ?? ["default"];
    this.#concurrency = options.concurrency ?? 4;
    this.#name = options.name ?? "typescript";
  }

  /** Registers a handler. */
  handle(kind: string, handler: Handler): this {
    this.#handlers.set(kind, handler);
    return this;
  }

  /** Fetches nothing more; `run` resolves when what runs has ended. */
  stop(): void {
    this.#stop.abort();
  }

  /** Works until `stop`. */
  async run(): Promise<void> {
    const beating = setInterval(() => void this.#beat(), this.#heartbeatMs);
    const runs = new Set<Promise<void>>();
    try {
      while (!this.#stop.signal.aborted) {
        if (runs.size >= this.#concurrency) {
          await Promise.race(runs);
          continue;
        }
        for (const given of await this.#fetch(this.#concurrency - runs.size)) {
          const job = new Job(this.client, given);
          this.#running.set(job.id, job);
          const run = this.#run(job).finally(() => runs.delete(run));
          runs.add(run);
        }
      }
      await Promise.all(runs);
    } finally {
      clearInterval(beating);
    }
    // It has gone already, or will be missed soon.
    await this.client.request("DELETE", `/workers/${this.#id}`, undefined, { patienceMs: 0 }).catch(() => {});
  }

  async #fetch(count: number): Promise<any[]> {
    const body = {
      queues: this.#queues,
      count: Math.min(count, 100),
      wait_ms: 2_000,
      worker: this.#id,
      name: this.#name,
      client: VERSION,
      kinds: [...this.#handlers.keys()].sort(),
    };
    try {
      // Not broken off by a stop: an answer on its way may hold jobs.
      const fetched = await this.client.request("POST", "/fetch", body, { patienceMs: 0 });
      this.#heartbeatMs = fetched.heartbeat_ms;
      return fetched.jobs;
    } catch (error) {
      if (!(error instanceof WindlassError) || !error.isPassing) throw error;
      await sleep(error.retryAfterMs ?? 500);
      return [];
    }
  }

  async #run(job: Job): Promise<void> {
    const [verb, body] = await this.#attempt(job);
    try {
      if (!job.lost) await job.say(verb, body);
    } catch (error) {
      // A stale lease: the job runs elsewhere by now, and our word would not count.
      if (!(error instanceof WindlassError && error.isStale)) {
        console.error(`windlass: the end of job ${job.id} could not be told: ${error}`);
      }
    } finally {
      this.#running.delete(job.id);
    }
  }

  async #attempt(job: Job): Promise<[string, object]> {
    const handler = this.#handlers.get(job.kind);
    if (!handler) return ["fail", { error: `this worker has no handler for ${job.kind}` }];
    try {
      return ["ack", { result: (await handler(job.payload, job)) ?? null }];
    } catch (error) {
      if (error instanceof Snooze) return ["snooze", { delay_ms: error.delayMs }];
      if (error instanceof Dead) return ["fail", { error: error.message, outcome: "dead" }];
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      return ["fail", { error: text.slice(0, 8_000) }];
    }
  }

  async #beat(): Promise<void> {
    const running = [...this.#running.values()];
    if (running.length === 0) return;
    const leases = running.map(({ id, lease }) => ({ id, lease }));
    try {
      const told = await this.client.request("POST", "/heartbeat", { leases }, { timeoutMs: 5_000, patienceMs: 0 });
      told.leases.forEach((lease: any, at: number) => running[at].heard(lease.state));
    } catch {
      // The next one may come through; if none does, the server decides.
    }
  }
}
