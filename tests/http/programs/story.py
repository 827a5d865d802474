"""Enqueues and works through the client of one file, and checks what comes of it. Arguments: address, directory of the client."""

import sys
import threading
import time

sys.path.insert(0, sys.argv[2])
import windlass  # noqa: E402

client = windlass.Client(sys.argv[1])
worker = windlass.Worker(sys.argv[1], queues=["python"], concurrency=4, name="python worker")
snoozed = []


@worker.handle("double")
def double(payload, job):
    job.progress(50, "half")
    return {"doubled": payload["n"] * 2, "token": job.token[1] > 0}


@worker.handle("flaky")
def flaky(payload, job):
    if job.attempt == 1:
        raise RuntimeError("the first time never works")
    return job.attempt


@worker.handle("hopeless")
def hopeless(payload, job):
    raise windlass.Dead("no such customer")


@worker.handle("later")
def later(payload, job):
    if not snoozed:
        snoozed.append(job.id)
        raise windlass.Snooze(0.2)
    return job.attempt


@worker.handle("long")
def long(payload, job):
    time.sleep(payload)
    return job.attempt


@worker.handle("endless")
def endless(payload, job):
    assert job.stop.wait(30), "nobody stopped it"
    raise RuntimeError("stopped")


def enqueue(kind, payload=None, **options):
    return client.enqueue(kind, payload, queue="python", **options)


thread = threading.Thread(target=worker.run, kwargs={"signals": False})
thread.start()
fixed = {"policy": "fixed", "delay_ms": 50}
jobs = {
    "double": enqueue("double", {"n": 21}),
    "flaky": enqueue("flaky", backoff=fixed),
    "hopeless": enqueue("hopeless", tags=["vip"]),
    "later": enqueue("later"),
    "long": enqueue("long", 7),
    "unknown": enqueue("unknown", max_attempts=1),
}
assert enqueue("double", {"n": 1}, key="order-1") == enqueue("double", {"n": 1}, key="order-1")
ends = {kind: client.wait(id, 40) for kind, id in jobs.items()}
assert ends["double"]["result"] == {"doubled": 42, "token": True}, ends["double"]
assert ends["flaky"]["result"] == 2 and "first time" in ends["flaky"]["attempts"][0]["error"], ends["flaky"]
assert ends["hopeless"]["state"] == "dead" and "no such customer" in ends["hopeless"]["reason"], ends["hopeless"]
assert ends["later"]["result"] == 1, ends["later"]
# Longer than a lease, kept by heartbeats.
assert ends["long"]["result"] == 1 and len(ends["long"]["attempts"]) == 1, ends["long"]
assert ends["unknown"]["state"] == "dead", ends["unknown"]
assert [job["id"] for job in client.jobs("state:dead tag:vip kind:hope* error:customer")] == [jobs["hopeless"]]
endless_id = enqueue("endless")
while client.job(endless_id)["state"] != "running":
    time.sleep(0.05)
client.request("POST", f"/jobs/{endless_id}/cancel")
assert client.wait(endless_id, 20)["state"] == "cancelled"
assert [known["name"] for known in client.request("GET", "/workers")] == ["python worker"]
worker.stop()
thread.join(20)
assert not thread.is_alive()
assert client.request("GET", "/workers") == []
try:
    client.enqueue("", None)
except windlass.WindlassError as error:
    assert (error.status, error.code) == (422, "invalid"), error
else:
    raise AssertionError("an empty kind was taken")
print("the story of the Python client ends well")
