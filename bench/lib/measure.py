"""One measured command: what it printed, and what it and the server cost meanwhile."""

import glob
import json
import os
import platform
import resource
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")
# Longest time of one measured command; a rival that hangs costs no more.
TIMEOUT_S = 90


def _stat(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[1]), sum(int(field) for field in fields[11:15])


def _tree(roots, match):
    """Pids of the processes below `roots`, and of those whose command line holds `match`; their processor seconds."""
    parents, cpu = {}, {}
    for path in glob.glob("/proc/[0-9]*"):
        pid = int(path[6:])
        try:
            parents[pid], cpu[pid] = _stat(pid)
        except (OSError, IndexError, ValueError):
            pass
    wanted = set(roots)
    for pid in parents if match else ():
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if match.encode() in file.read():
                    wanted.add(pid)
        except OSError:
            pass
    grew = True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in wanted} - wanted
        wanted |= more
        grew = bool(more)
    wanted.discard(os.getpid())
    return wanted & set(cpu), sum(cpu[pid] for pid in wanted if pid in cpu) / TICKS


def _machine_busy():
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    # Idle, waiting for the disk, and stolen by the hypervisor are not our work.
    return (sum(fields) - fields[3] - fields[4] - fields[7]) / TICKS


def memory_mb(pids):
    """Memory of the processes, with shared pages counted once."""
    kib = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                kib += next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        except (OSError, StopIteration):
            pass
    return round(kib / 1024, 1)


def disk_mb(path):
    """What a directory takes on the disk."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                pass
    return round(total / 1e6, 1)


def run(command, pids=(), match=None, data=None, env=None, cwd=None, timeout=TIMEOUT_S):
    """Runs a command that prints a JSON object on its last line; returns that with the costs beside it."""
    _, server_before = _tree(pids, match)
    busy_before, child_before = _machine_busy(), resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    record = {}
    try:
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, timeout=timeout, env=env, cwd=cwd
        )
        lines = done.stdout.strip().splitlines()
        try:
            record.update(json.loads(lines[-1]) if lines else {})
        except ValueError:
            record["error"] = "it printed no JSON: " + lines[-1][:200]
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
            record["error"] = f"exit code {done.returncode}: {last[:300]}"
    except subprocess.TimeoutExpired:
        record["error"] = f"no end within {timeout} s"
    elapsed = time.monotonic() - begun
    busy, child = _machine_busy(), resource.getrusage(resource.RUSAGE_CHILDREN)
    server_pids, server = _tree(pids, match)
    client = child.ru_utime + child.ru_stime - child_before.ru_utime - child_before.ru_stime
    record["server_cores"] = round(max(0.0, server - server_before) / elapsed, 2)
    record["client_cores"] = round(client / elapsed, 2)
    record["machine_cores"] = round((busy - busy_before) / elapsed, 2)
    if pids:
        record["memory_mb"] = memory_mb(server_pids)
    if data:
        record["disk_mb"] = disk_mb(data)
    return record


def machine():
    """What a reader needs to compare figures."""
    cpu = memory = ""
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo") as file:
        memory = round(int(file.readline().split()[1]) / 1024 / 1024)
    system = platform.system()
    try:
        with open("/etc/os-release") as file:
            names = dict(line.rstrip().split("=", 1) for line in file if "=" in line)
        system = names.get("PRETTY_NAME", system).strip('"')
    except OSError:
        pass
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": cpu,
        "memory_gib": memory,
        "kernel": platform.release(),
        "system": system,
    }
