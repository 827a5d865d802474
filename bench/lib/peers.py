"""What a rival is, and Windlass itself as one of them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from . import measure

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
WORK = ROOT / "target" / "rivals"
# Seconds that a server has to open its port, and to stop.
START_S = 90
STOP_S = 15

# The workloads, in the order of the tables: key, heading, what it is.
TESTS = {
    "enq1": ("one by one, 1 producer", "one producer that waits for each confirmation"),
    "enq16": ("one by one, 16 producers", "16 connections, each waiting for each confirmation"),
    "bulk": ("in bulk", "pipelined or in batches, as fast as the rival takes it"),
    "drain": ("run a backlog", "take and acknowledge what `bulk` left, pipelined"),
    "drain16": ("run one by one, 16", "16 consumers, one job at a time each"),
    "both": ("both at once", "producing and consuming at the same time, pipelined"),
    "both16": ("both, one by one, 16", "16 producers and 16 consumers, one job at a time each"),
    "lat": ("latency at 200/s", "from just before the enqueue to the start of the handler"),
}


class Missing(Exception):
    """A rival cannot be measured here, and why."""


class Sizes:
    """How much is done; quick runs are for a first look. Seconds are caps: a rate is that of what was done until then."""

    def __init__(self, quick):
        self.quick = quick
        self.rounds = 1 if quick else 3
        self.one_s = 2
        self.lat_s = 3 if quick else 4
        self.bulk = 200_000 if quick else 1_000_000
        self.bulk_s = 3 if quick else 4
        self.drain_s = 4 if quick else 5
        self.library = 20_000 if quick else 50_000
        self.backlog = 300_000 if quick else 10_000_000
        self.timers = 50_000 if quick else 1_000_000


def have(program):
    return shutil.which(program) is not None


def say(text):
    print(text, file=sys.stderr, flush=True)


def sh(command, **more):
    """Runs a step of an installation; its last words are the reason when it fails."""
    done = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise Missing(f"`{' '.join(map(str, command[:4]))}…` failed: {last[:200]}")
    return done.stdout


def apt(*packages):
    """Debian packages; their services are not started."""
    missing = [name for name in packages if not version_of(name)]
    if not missing:
        return
    if not have("apt-get") or os.geteuid() != 0:
        raise Missing(f"install {' '.join(missing)} first (apt-get as root does it)")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    sh(["apt-get", "update", "-qq"], env=env)
    sh(["apt-get", "install", "-y", "--no-install-recommends", *missing], env=env)


def version_of(package):
    """Version of an installed Debian package without Debian's own part, or nothing."""
    if not have("dpkg-query"):
        return ""
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package], capture_output=True, text=True
    )
    status, _, version = done.stdout.partition(" ")
    return version.split(":")[-1].split("-")[0].split("+")[0] if status == "installed" else ""


def cargo(crate, binary):
    """Builds one of the load generators, which are workspaces of their own."""
    target = WORK / "cargo"
    if not have("cargo"):
        raise Missing("cargo is needed to build the load generator")
    sh(["cargo", "build", "--release", "--locked"], cwd=BENCH / crate, env={**os.environ, "CARGO_TARGET_DIR": str(target)})
    return target / "release" / binary


def python(*packages):
    """A virtual environment with packages from PyPI; its interpreter."""
    venv = WORK / "venv"
    interpreter = venv / "bin" / "python"
    if not interpreter.exists():
        sh([sys.executable, "-m", "venv", venv])
    sh([interpreter, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages])
    return interpreter


def node():
    """The packages of bench/js from npm; the folder they are in."""
    folder = WORK / "js"
    folder.mkdir(parents=True, exist_ok=True)
    if not have("npm"):
        raise Missing("npm is needed")
    changed = not (folder / "node_modules").exists()
    for source in (BENCH / "js").iterdir():
        copy = folder / source.name
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            shutil.copy(source, copy)
            changed |= source.name == "package.json"
    if changed:
        sh(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"], cwd=folder)
    return folder


class Server:
    """A process that this program started, ended by its id."""

    def __init__(self, command, port, log, env=None, cwd=None, stop=signal.SIGTERM):
        self.stop_signal = stop
        self.log = open(log, "wb")
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env, cwd=cwd
        )
        by = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > by:
                    self.stop()
                    with open(log, errors="replace") as file:
                        last = (file.read().strip().splitlines() or ["it said nothing"])[-1]
                    raise Missing(f"{command[0]} did not open port {port}: {last[:200]}") from None
                time.sleep(0.05)

    def pid(self):
        return self.process.pid

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


class Peer:
    """A rival in one setting. `rounds` of it are measured in each run; slow ones once."""

    name = ""
    # "default", "durable", or both when the default is durable.
    configs = ()
    # What the setting is, for the table.
    setting = ""
    # Whether a confirmed job survives a power cut.
    durable = False
    # Libraries differ by factors and not by percents, and take long to start.
    once = False

    def prepare(self, sizes):
        """Installs it; raises Missing."""

    def version(self):
        return ""

    def measure(self, sizes):
        """Yields (test, record)."""
        raise NotImplementedError

    def describe(self):
        return {
            "peer": self.name,
            "configs": list(self.configs),
            "setting": self.setting,
            "durable": self.durable,
            "version": self.version(),
        }


def fresh(name):
    """An empty directory for a server's data, on the file system of the repository."""
    folder = WORK / "data" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


class Windlass(Peer):
    """Windlass through `windlass bench`, which starts a server of its own per scenario."""

    name = "Windlass"
    configs = ("default", "durable")
    setting = "as it comes: one `fdatasync` per group before the confirmation"
    durable = True

    # Scenario's line -> workload.
    LINES = {
        "enqueue_one": "enq1",
        "enqueue_many": "enq16",
        "enqueue_batches": "bulk",
        "latency_200": "lat",
        "drain": "drain",
        "both": "both",
        "both_one_by_one": "both16",
    }

    def __init__(self, binary):
        self.binary = binary
        self.machine = {}

    def prepare(self, sizes):
        if not Path(self.binary).exists():
            raise Missing(f"{self.binary} is not there; `cargo build --release` makes it")

    def version(self):
        return sh([self.binary, "--version"]).split()[-1].strip()

    def bench(self, *arguments, engine=(), timeout=measure.TIMEOUT_S):
        """One call; its lines by name, and the disk as it saw it. `engine` are the processes of a database that the server stands on."""
        folder = fresh("windlass")
        command = [Path(self.binary).resolve(), "bench", *arguments, "--json"]
        record = measure.run(command, pids=engine, cwd=folder, timeout=timeout)
        if "error" in record:
            say(f"  windlass bench {arguments[0]}: {record['error']}")
            return {"error": record["error"]}
        self.machine = record["machine"]
        # Its children are the server and itself, so what the machine did beyond them was somebody else.
        others = max(0.0, record["machine_cores"] - record["client_cores"] - record["server_cores"])
        for line in record["results"]:
            # What the database does is known of the whole call only; it counts as the server's.
            if line["server_cores"] is not None:
                line["server_cores"] += record["server_cores"]
            line["machine_cores"] = (line["server_cores"] or 0) + (line["client_cores"] or 0) + others
        return record["results"]

    @staticmethod
    def record(line):
        """A line of `windlass bench` in the words of the other records."""
        latency = line.get("latency") or {}
        record = {
            "n": line["jobs"],
            "secs": line["seconds"],
            "rate": line["jobs_per_second"],
            "complete": True,
            "server_cores": line["server_cores"],
            "client_cores": line["client_cores"],
            "machine_cores": round(line["machine_cores"], 2),
            "memory_mb": round(line["server_rss_bytes"] / 1e6, 1),
            "disk_mb": round(line["disk_bytes"] / 1e6, 1),
            "details": line["details"],
        }
        if line["name"].startswith("latency"):
            record.update({key: latency[key] for key in ("p50_us", "p99_us", "p999_us", "max_us")})
        return record

    def measure(self, sizes):
        few = sizes.bulk // 10
        calls = [
            (("latency", "--seconds", f"{sizes.lat_s}s"), {"latency_200": "lat"}),
            (
                ("enqueue", "--producers", 16, "--jobs", sizes.bulk, "--seconds", f"{sizes.one_s}s"),
                {"enqueue_one": "enq1", "enqueue_many": "enq16", "enqueue_batches": "bulk"},
            ),
            # Half as much under way as what reads Redis has.
            (("drain", "--workers", 1, "--concurrency", 8000, "--jobs", sizes.bulk), {"drain": "drain"}),
            (("drain", "--workers", 16, "--concurrency", 1, "--jobs", few // 2), {"drain": "drain16"}),
            (
                ("both", "--producers", 4, "--concurrency", 8000, "--jobs", sizes.bulk // 2, "--seconds", "1s"),
                {"both": "both"},
            ),
            (
                ("both", "--workers", 16, "--concurrency", 1, "--jobs", few // 2, "--seconds", f"{sizes.one_s}s"),
                {"both_one_by_one": "both16"},
            ),
        ]
        for arguments, names in calls:
            lines = self.bench(*arguments)
            if isinstance(lines, dict):
                for test in names.values():
                    yield test, lines
                continue
            for line in lines:
                if line["name"] in names:
                    yield names[line["name"]], self.record(line)

    def alone(self, sizes, series):
        """The scenarios that have no counterpart: large numbers. Yields their lines."""
        scenarios = [
            ("latency", "--seconds", f"{sizes.lat_s}s"),
            ("stream", "--jobs", sizes.bulk),
            ("drain", "--jobs", sizes.bulk, "--workers", "1,2,8"),
            ("payloads", "--jobs", sizes.bulk // 4),
            ("queues", "--jobs", sizes.bulk // 4),
            ("connections",),
            ("timers", "--jobs", sizes.timers, "--concurrency", 8000),
            ("retries", "--jobs", sizes.bulk // 10),
            ("backlog", "--jobs", sizes.backlog, "--seconds", "20s", "--series", series),
        ]
        for arguments in scenarios:
            say(f"  {arguments[0]}")
            lines = self.bench(*arguments, timeout=300)
            if isinstance(lines, dict):
                yield arguments[0], {"name": arguments[0], **lines}
                continue
            for line in lines:
                yield arguments[0], line
