"""Brokers, driven by bench/loadgen over their own wire protocols. They bring no retries, limits, results or history; what a
job queue adds to them is in libraries.py."""

import os
import signal
import subprocess
import time
from pathlib import Path

from . import measure
from .peers import START_S, WORK, Missing, Peer, Server, apt, cargo, fresh, have, sh, version_of


class Broker(Peer):
    """The common suite."""

    protocol = ""
    port = 0
    arguments = ()
    bulk = ("--conns", 4, "--window", 256)
    drain = ("--cconns", 4, "--cwindow", 256)
    both = ("--conns", 4, "--window", 64, "--cconns", 4, "--cwindow", 64)
    one = ()
    # Restarting it takes so long that its queue is only emptied between the tests.
    soft = False

    def prepare(self, sizes):
        self.loadgen = cargo("loadgen", "loadgen")
        self.install()

    def install(self):
        raise NotImplementedError

    def start(self):
        """Starts the server on an empty directory: (server, directory)."""
        raise NotImplementedError

    def load(self, phase, *arguments):
        return [self.loadgen, self.protocol, phase, "--port", self.port, *self.arguments, *arguments]

    def measure(self, sizes):
        self.server = None
        try:
            yield from self.suite(sizes)
        finally:
            self.end()

    def end(self):
        if self.server:
            self.server.stop()
            self.server = None

    def begin(self):
        if not (self.soft and self.server):
            self.end()
            self.server, self.data = self.start()
        for attempt in range(20):
            done = subprocess.run([str(word) for word in self.load("reset")], capture_output=True, text=True, timeout=60)
            if done.returncode == 0:
                return
            # A port may be open before what is behind it is ready.
            time.sleep(0.5)
        raise Missing(f"its queue cannot be emptied: {done.stderr.strip()[-200:]}")

    def timed(self, phase, *arguments):
        return measure.run(self.load(phase, *arguments), pids=[self.server.pid()], data=self.data)

    def suite(self, sizes):
        one = ("--secs", sizes.one_s)
        self.begin()
        yield "lat", self.timed("lat", "--rate", 200, "--secs", sizes.lat_s)
        self.begin()
        yield "enq1", self.timed("enq", "--n", 1_000_000, *one)
        self.begin()
        yield "enq16", self.timed("enq", "--conns", 16, "--n", 2_000_000, *one)
        self.begin()
        filled = self.timed("enq", *self.bulk, "--n", sizes.bulk, "--secs", sizes.bulk_s)
        yield "bulk", filled
        if filled.get("n"):
            yield "drain", self.timed("drain", *self.drain, "--n", filled["n"], "--secs", sizes.drain_s)
        self.begin()
        few = sizes.bulk // 10
        filled = self.timed("enq", *self.bulk, "--n", few, "--secs", sizes.bulk_s)
        if filled.get("n"):
            drain = ("--cconns", 16, "--cwindow", 1, *self.one, "--n", filled["n"])
            yield "drain16", self.timed("drain", *drain, *one)
        self.begin()
        yield "both", self.timed("both", *self.both, "--n", sizes.bulk // 2, "--secs", sizes.bulk_s)
        self.begin()
        sixteen = ("--conns", 16, "--window", 1, "--cconns", 16, "--cwindow", 1, *self.one, "--n", few)
        yield "both16", self.timed("both", *sixteen, *one)


class Redis(Broker):
    """Redis as a queue: lists (LPUSH, BRPOPLPUSH, LREM) and streams (XADD, XREADGROUP, XACK and XDEL)."""

    port = 26379
    # An fsync is shared by what came in during the one before: with fewer jobs under way it has two thirds of these rates.
    bulk = ("--conns", 8, "--window", 2000)
    drain = ("--cconns", 8, "--cwindow", 2000)
    both = ("--conns", 4, "--window", 1000, "--cconns", 4, "--cwindow", 1000)

    def __init__(self, protocol, durable):
        self.protocol = protocol
        self.name = "Redis list" if protocol == "redis-list" else "Redis stream"
        self.durable = durable
        self.configs = ("durable",) if durable else ("default",)
        self.setting = "appendfsync always" if durable else "snapshots only"

    def install(self):
        apt("redis-server")

    def version(self):
        return version_of("redis-server")

    def start(self):
        return redis_server(self.port, self.durable)


def redis_server(port, durable):
    """Redis with its defaults, or with an fsync before every answer."""
    data = fresh("redis")
    command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", data, "--daemonize", "no"]
    if durable:
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
    return Server(command, port, WORK / "redis.log"), data


class Beanstalkd(Broker):
    """beanstalkd: put, reserve, delete."""

    name = "beanstalkd"
    protocol = "beanstalk"
    port = 21300

    def __init__(self, durable):
        self.durable = durable
        self.configs = ("durable",) if durable else ("default",)
        self.setting = "-b DIR -f0 (fsync per write)" if durable else "in memory"

    def install(self):
        apt("beanstalkd")

    def version(self):
        return version_of("beanstalkd")

    def start(self):
        data = fresh("beanstalkd")
        command = ["beanstalkd", "-l", "127.0.0.1", "-p", self.port]
        if self.durable:
            command += ["-b", data, "-f0"]
        return Server(command, self.port, WORK / "beanstalkd.log"), data


class Nats(Broker):
    """NATS JetStream: a work queue stream in files, one pull consumer with explicit acks."""

    name = "NATS JetStream"
    protocol = "nats"
    port = 24222
    bulk = ("--conns", 8, "--window", 500)
    drain = ("--cconns", 4, "--cwindow", 1000)
    both = ("--conns", 4, "--window", 64, "--cconns", 2, "--cwindow", 128)
    arguments = ("--storage", "file")

    def __init__(self, durable):
        self.durable = durable
        self.configs = ("durable",) if durable else ("default",)
        self.setting = "file, sync_interval always" if durable else "file, fsync every 2 min"
        self.binary = "nats-server"

    def install(self):
        apt("nats-server")
        if self.durable and self._number() < (2, 10):
            # `sync_interval: always` came with 2.10; a newer Debian may have it.
            self.binary = newer_debian("nats-server", "usr/sbin/nats-server")
            if self._number() < (2, 10):
                raise Missing(f"nats-server {self.version()} has no `sync_interval: always`, which came with 2.10")

    def _number(self):
        return tuple(int(part) for part in self.version().split(".")[:2])

    def version(self):
        return sh([self.binary, "--version"]).split("v")[-1].strip()

    def start(self):
        data = fresh("nats")
        conf = WORK / "nats.conf"
        sync = "  sync_interval: always\n" if self.durable else ""
        conf.write_text(f'listen: "127.0.0.1:{self.port}"\njetstream {{\n  store_dir: "{data}"\n{sync}}}\n')
        return Server([self.binary, "-c", conf], self.port, WORK / "nats.log"), data


def newer_debian(package, path, suite="trixie"):
    """A program of a newer Debian, unpacked beside this one's, with this machine's own mirror and keys."""
    folder = WORK / f"{package}-{suite}"
    program = folder / "tree" / path
    if program.exists():
        return program
    if not have("apt-get"):
        raise Missing(f"a newer {package} needs apt-get")
    uri, key = _mirror()
    state = folder / "apt"
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (state / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    sources = state / "suite.sources"
    sources.write_text(f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\n" + (f"Signed-By: {key}\n" if key else ""))
    options = []
    for option in (
        f"Dir::Etc::sourcelist={sources}",
        "Dir::Etc::sourceparts=-",
        f"Dir::State::lists={state / 'lists'}",
        f"Dir::Cache={state / 'cache'}",
        "APT::Sandbox::User=root",
    ):
        options += ["-o", option]
    sh(["apt-get", *options, "update", "-qq"])
    sh(["apt-get", *options, "download", "-qq", package], cwd=folder)
    archive = next(iter(sorted(folder.glob(f"{package}_*.deb"))), None)
    if not archive:
        raise Missing(f"apt-get downloaded no {package} of {suite}")
    sh(["dpkg-deb", "-x", archive, folder / "tree"])
    return program


def _mirror():
    uri = key = ""
    for path in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]:
        if not path.is_file():
            continue
        for line in path.read_text(errors="replace").splitlines():
            words = line.split()
            if line.startswith("URIs:") and not uri:
                uri = words[1]
            elif line.startswith("Signed-By:") and not key:
                key = words[1]
            elif line.startswith("deb ") and not uri:
                uri = next((word for word in words if "://" in word), "")
    if not uri:
        raise Missing("no Debian mirror is configured")
    return uri, key


class RabbitMq(Broker):
    """RabbitMQ, publisher confirms, prefetch 100."""

    name = "RabbitMQ"
    protocol = "amqp"
    port = 25672
    soft = True
    drain = ("--cconns", 4, "--cwindow", 100, "--multiple", 1)
    both = ("--conns", 4, "--window", 128, "--cconns", 2, "--cwindow", 100, "--multiple", 1)
    one = ("--prefetch", 1)

    def __init__(self, durable):
        self.durable = durable
        self.configs = ("durable",) if durable else ("default",)
        self.setting = "quorum queue, persistent, confirms" if durable else "classic queue, transient, confirms"
        self.arguments = ("--durable", 1, "--qtype", "quorum") if durable else ("--durable", 0)

    def install(self):
        apt("rabbitmq-server")

    def version(self):
        return version_of("rabbitmq-server")

    def start(self):
        data = fresh("rabbitmq")
        (WORK / "rabbitmq.conf").write_text("")
        (WORK / "rabbitmq_plugins").write_text("[].\n")
        program = next(
            line for line in sh(["dpkg", "-L", "rabbitmq-server"]).splitlines()
            if line.endswith("lib/rabbitmq/bin/rabbitmq-server")
        )
        env = {
            **os.environ,
            "HOME": str(data),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": "24369",
            "RABBITMQ_NODENAME": "bench@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.port + 20_000),
            "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(data / "log"),
            "RABBITMQ_CONFIG_FILE": str(WORK / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(WORK / "rabbitmq_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        # Its name service would otherwise be started in the background and outlive this program.
        self.names = subprocess.Popen(["epmd"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return Server([program], self.port, WORK / "rabbitmq.log", env=env), data

    def end(self):
        super().end()
        names = getattr(self, "names", None)
        if names:
            names.kill()
            names.wait()
            self.names = None


class Postgres:
    """A PostgreSQL of our own, for the libraries that stand on it; its defaults are durable."""

    port = 25432
    url = f"postgres://bench@127.0.0.1:{port}/bench"

    def __init__(self):
        apt("postgresql")
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
        if not folders:
            raise Missing("there is no PostgreSQL server in /usr/lib/postgresql")
        self.bin = folders[-1]

    def version(self):
        return sh([self.bin / "postgres", "--version"]).split()[2]

    def start(self):
        """Starts it on an empty directory: (server, directory)."""
        data = fresh("postgres")
        become = []
        if os.geteuid() == 0:
            # It refuses to run as root.
            become = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
            sh(["chown", "postgres", data])
        data.chmod(0o700)
        sh([*become, self.bin / "initdb", "-D", data, "-U", "bench", "--auth", "trust", "-E", "UTF8", "--no-locale"], cwd="/")
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"]
        # What every guide changes first; the defaults are for very small machines.
        settings += ["shared_buffers=512MB", "max_wal_size=4GB"]
        command = [*become, self.bin / "postgres", "-D", data, "-p", self.port]
        for setting in settings:
            command += ["-c", setting]
        server = Server(command, self.port, WORK / "postgres.log", cwd="/", stop=signal.SIGINT)
        by = time.monotonic() + START_S
        while True:
            try:
                sh([self.bin / "createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "bench", "bench"])
                return server, data
            except Missing:
                # Its port is open a moment before it takes connections.
                if time.monotonic() > by:
                    server.stop()
                    raise
                time.sleep(0.2)

    def sql(self, text):
        sh([self.bin / "psql", "-h", "127.0.0.1", "-p", self.port, "-U", "bench", "-d", "bench", "-Atqc", text])
