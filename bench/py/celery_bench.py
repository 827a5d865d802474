"""Load for Celery, through itself: celery_bench.py reset|enq|drain|both|lat --port P [--n N --secs S --conns C --window W --worker …]

Jobs left are counted in Redis, so drain and both end when the broker holds none. The worker is started by Celery's own
command; the time it takes to start is not counted (drain starts the clock when the first job is taken)."""

import argparse
import json
import multiprocessing
import os
import queue
import shlex
import signal
import subprocess
import sys
import tempfile
import time

import redis

HERE = os.path.dirname(os.path.abspath(__file__))
RATE = 200


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("phase", choices=["reset", "enq", "drain", "both", "lat"])
    for key, default in (("port", 6379), ("n", 20_000), ("secs", 30), ("conns", 1), ("window", 1)):
        parser.add_argument("--" + key, type=int, default=default)
    parser.add_argument("--worker", default="")
    return parser.parse_args()


ARGS = parse()
BROKER = redis.Redis(port=ARGS.port)


def payload(number):
    return f"{number:016x}{time.monotonic_ns():016x}".ljust(100, "x")


def producer():
    """A function that enqueues payloads over one connection."""
    from celery_app import app, noop

    connection = app.amqp.Producer(app.connection_for_write(), auto_declare=False)

    def put(payloads):
        for text in payloads:
            noop.apply_async((text,), producer=connection)

    return put


def left():
    return BROKER.llen("celery") + BROKER.hlen("unacked")


def produce(start, jobs, out):
    put = producer()
    start.wait()
    begun, sent = time.monotonic(), 0
    while sent < jobs and time.monotonic() - begun < ARGS.secs:
        count = min(ARGS.window, jobs - sent)
        put([payload(number) for number in range(sent, sent + count)])
        sent += count
    out.put((sent, begun, time.monotonic()))


def start_producers():
    """Processes, since Python's threads would share one processor; they wait for the event."""
    context = multiprocessing.get_context("fork")
    start, out = context.Event(), context.Queue()
    each = ARGS.n // ARGS.conns
    processes = [context.Process(target=produce, args=(start, each, out)) for _ in range(ARGS.conns)]
    for process in processes:
        process.start()
    time.sleep(1.0 + 0.15 * ARGS.conns)
    return start, out, processes


def collect(out, processes):
    results, by = [], time.monotonic() + ARGS.secs + 30
    while len(results) < len(processes):
        try:
            results.append(out.get(timeout=0.5))
        except queue.Empty:
            if time.monotonic() > by or any(process.exitcode not in (None, 0) for process in processes):
                for process in processes:
                    process.kill()
                sys.exit("a producer failed")
    for process in processes:
        process.join(10)
    return results


def start_worker():
    celery = os.path.join(os.path.dirname(sys.executable), "celery")
    quiet = ["-l", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    return subprocess.Popen(
        [celery, "-A", "celery_app", "worker", *quiet, *shlex.split(ARGS.worker)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def stop_worker(worker):
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            # Its own group: it may have children.
            os.killpg(worker.pid, sign)
            worker.wait(8)
            return
        except (subprocess.TimeoutExpired, ProcessLookupError):
            pass


def rate(jobs, secs, complete):
    return {"n": jobs, "secs": secs, "rate": round(jobs / max(secs, 1e-9)), "complete": complete}


def enqueue():
    start, out, processes = start_producers()
    start.set()
    results = collect(out, processes)
    sent = sum(result[0] for result in results)
    secs = max(result[2] for result in results) - min(result[1] for result in results)
    return rate(sent, secs, sent >= ARGS.n // ARGS.conns * ARGS.conns)


def drain():
    jobs, worker, by = left(), start_worker(), time.monotonic() + 30
    while left() == jobs and time.monotonic() < by:
        time.sleep(0.002)
    begun, jobs = time.monotonic(), left()
    return emptied(worker, jobs, begun)


def both():
    worker = start_worker()
    start, out, processes = start_producers()
    time.sleep(3)
    start.set()
    begun = time.monotonic()
    sent = sum(result[0] for result in collect(out, processes))
    return emptied(worker, sent, begun)


def emptied(worker, jobs, begun):
    while left() and time.monotonic() - begun < ARGS.secs:
        time.sleep(0.005)
    secs, rest = time.monotonic() - begun, left()
    stop_worker(worker)
    return rate(jobs - rest, secs, rest == 0)


def latency():
    path = os.path.join(tempfile.mkdtemp(), "latencies")
    os.environ["LAT_FILE"] = path
    put, worker = producer(), start_worker()
    time.sleep(5)
    put([payload(0)])
    time.sleep(0.5)
    jobs, begun = RATE * ARGS.secs, time.monotonic()
    for number in range(jobs):
        time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
        put([payload(number)])
    offered = jobs / (time.monotonic() - begun)
    by = time.monotonic() + 10
    while left() and time.monotonic() < by:
        time.sleep(0.01)
    stop_worker(worker)
    with open(path) as file:
        # The first was to warm up.
        times = sorted(int(line) / 1000 for line in file.read().split()[1:])
    os.unlink(path)
    at = {key: times[int((len(times) - 1) * share)] for key, share in (("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999))}
    return {"n": len(times), "secs": ARGS.secs, "rate": round(offered), "complete": len(times) >= jobs, **at, "max_us": times[-1]}


def main():
    os.chdir(HERE)
    os.environ["BROKER"] = f"redis://127.0.0.1:{ARGS.port}/0"
    phases = {"enq": enqueue, "drain": drain, "both": both, "lat": latency, "reset": lambda: BROKER.flushall() and {}}
    print(json.dumps(phases[ARGS.phase]()))


if __name__ == "__main__":
    main()
