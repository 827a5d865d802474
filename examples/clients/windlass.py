"""Windlass over HTTP: enqueue jobs and work on them. One file, the standard library alone, Python 3.9 or later.

    client = Client("http://127.0.0.1:7420")
    client.enqueue("send_email", {"to": "ada@example.org"}, queue="mail")

    worker = Worker("http://127.0.0.1:7420", queues=["mail"], concurrency=4)

    @worker.handle("send_email")
    def send_email(payload, job):
        job.progress(50, "connected")
        return {"sent_to": payload["to"]}      # the result; an exception is a failed attempt and is retried

    worker.run()                               # until SIGTERM or SIGINT; running jobs are finished first

Copy this file into your project and change it as you like.
"""

import http.client
import json
import os
import random
import signal
import socket
import threading
import time
import traceback
import urllib.parse
import uuid

__all__ = ["Client", "Worker", "Job", "WindlassError", "StaleLease", "Dead", "Snooze"]
VERSION = "windlass-python/1"


class WindlassError(Exception):
    """An answer that is an error. `code` is stable; `status` is 0 when nobody answered."""

    def __init__(self, status, code, detail, retry_after=None):
        super().__init__(f"{code}: {detail}")
        self.status, self.code, self.detail, self.retry_after = status, code, detail, retry_after

    @property
    def is_passing(self):
        """Whether the same request may succeed later."""
        return self.status in (0, 429, 503)


class StaleLease(WindlassError):
    """The lease has ended: the job belongs to somebody else. Whatever is done now must not count."""


class Dead(Exception):
    """Raised by a handler: trying again is of no use."""


class Snooze(Exception):
    """Raised by a handler: run it again later; no attempt is used."""

    def __init__(self, seconds):
        super().__init__(f"for {seconds} s")
        self.delay_ms = int(seconds * 1000)


class Client:
    """Makes requests; may be shared between threads. `patience` is how long to go on when the server is busy or away."""

    def __init__(self, url="http://127.0.0.1:7420", patience=30.0, headers=None):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not the address of a server: {url!r}")
        make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connect = lambda timeout: make(parts.hostname, parts.port, timeout=timeout)
        self._base = parts.path.rstrip("/") + "/api/v1"
        self._headers = {"Content-Type": "application/json", "User-Agent": VERSION, **(headers or {})}
        self._patience = patience
        self._kept = threading.local()

    def enqueue(self, kind, payload=None, *, key=None, **options):
        """Enqueues a job and returns its id once it is on the disk.

        Options are those of the API: queue, priority, delay_ms, run_at, timeout_ms, max_attempts, backoff, tags, headers, …
        The same `key` again in the same queue makes no second job. Without one this call makes one of its own, so that its
        own repetitions are harmless.
        """
        headers = {} if "id" in options else {"Idempotency-Key": key or str(uuid.uuid4())}
        body = {"kind": kind, "payload": payload, **options}
        return self.request("POST", "/jobs", body, headers)["id"]

    def enqueue_many(self, jobs, *, key=None):
        """Enqueues a list of jobs, as dicts with the keys of the API, into one queue: all or none. Returns their ids."""
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return [job["id"] for job in self.request("POST", "/jobs/batch", {"jobs": list(jobs)}, headers)["jobs"]]

    def job(self, id):
        """The job with its history."""
        return self.request("GET", f"/jobs/{id}")

    def jobs(self, filter="", limit=None):
        """All jobs that satisfy a filter such as `state:dead error:"timed out" args.user.id:123`, page by page."""
        query = {"filter": filter, "limit": limit or 100}
        while True:
            page = self.request("GET", "/jobs?" + urllib.parse.urlencode(query))
            yield from page["jobs"]
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    def wait(self, id, timeout=60.0):
        """Waits for the end of a job and returns it."""
        end = time.monotonic() + timeout
        while True:
            left = max(0.0, end - time.monotonic())
            try:
                return self.request("GET", f"/jobs/{id}/wait?timeout_ms={int(min(left, 30) * 1000)}", timeout=min(left, 30) + 10)
            except WindlassError as error:
                if error.status != 504 or time.monotonic() >= end:
                    raise

    def request(self, method, path, body=None, headers=None, timeout=30.0, patience=None):
        """One request. What passes (busy, away) is tried again, with growing pauses, for as long as there is patience."""
        end = time.monotonic() + (self._patience if patience is None else patience)
        pause = 0.1
        while True:
            try:
                return self._once(method, path, body, headers or {}, timeout)
            except WindlassError as error:
                wait = error.retry_after or pause * random.uniform(0.5, 1.5)
                if not error.is_passing or time.monotonic() + wait > end:
                    raise
            time.sleep(wait)
            pause = min(pause * 2, 5.0)

    def _once(self, method, path, body, headers, timeout):
        data = None if body is None else json.dumps(body).encode()
        for fresh in (False, True):
            connection = None if fresh else getattr(self._kept, "connection", None)
            reused = connection is not None
            connection = connection or self._connect(timeout)
            try:
                if reused and connection.sock is not None:
                    connection.sock.settimeout(timeout)
                connection.request(method, self._base + path, data, {**self._headers, **headers})
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self._kept.connection = None
                # The server closes connections that rest; what was sent on one may be sent again on a new one.
                if reused and isinstance(error, (http.client.BadStatusLine, ConnectionError)):
                    continue
                raise WindlassError(0, "unreachable", str(error) or type(error).__name__) from None
            self._kept.connection = connection
            return self._read(answer, text)

    @staticmethod
    def _read(answer, text):
        try:
            said = json.loads(text) if text else None
        except ValueError:
            said = None
        if 200 <= answer.status < 300:
            return said
        said = said if isinstance(said, dict) else {}
        code, detail = said.get("code", "http"), said.get("detail", f"status {answer.status}")
        after = answer.headers.get("Retry-After")
        kind = StaleLease if code == "stale_lease" else WindlassError
        raise kind(answer.status, code, detail, float(after) if after and after.isdigit() else None)


class Job:
    """A job in the hands of a handler."""

    def __init__(self, client, given):
        self._client, self._given = client, given
        self.id, self.queue, self.kind = given["id"], given["queue"], given["kind"]
        self.payload, self.attempt, self.max_attempts = given["payload"], given["attempt"], given["max_attempts"]
        self.tags, self.headers = given["tags"], given["headers"]
        #: Larger with every hand-out of this job; a system that keeps the largest one can refuse a late writer.
        self.token = (given["token"]["epoch"], given["token"]["delivery"])
        #: Set when the run should stop: somebody cancelled the job, or its lease is lost.
        self.stop = threading.Event()
        self.lost = False

    def progress(self, percent, message=""):
        """Says how far the run is; raises `StaleLease` when the job is no longer ours."""
        state = self._say("progress", percent=int(percent), message=message)["state"]
        if state == "cancel_requested":
            self.stop.set()

    def _say(self, verb, **body):
        return self._client.request("POST", f"/jobs/{self.id}/{verb}", {"lease": self._given["lease"], **body})


class Worker:
    """Fetches jobs, runs them in threads, and keeps their leases alive while they run."""

    def __init__(self, url="http://127.0.0.1:7420", queues=("default",), concurrency=4, name=None, headers=None):
        self.client = Client(url, headers=headers)
        self.queues, self.concurrency = list(queues), concurrency
        self.name = name or f"{socket.gethostname()}/{os.getpid()}"
        self._id = str(uuid.uuid4())
        self._handlers = {}
        self._running = {}
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(concurrency)
        self._stopping = threading.Event()
        self._heartbeat_s = 1.0

    def handle(self, kind):
        """Registers a handler: `handler(payload, job) -> result`."""

        def register(handler):
            self._handlers[kind] = handler
            return handler

        return register

    def stop(self):
        """Fetches nothing more; `run` returns when what runs has ended. May be called from anywhere."""
        self._stopping.set()

    def run(self, signals=True):
        """Works until `stop`, SIGTERM or SIGINT."""
        if signals and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.stop())
        threading.Thread(target=self._beat, daemon=True).start()
        threads = []
        while not self._stopping.is_set():
            if not self._slots.acquire(timeout=0.2):
                continue
            given = self._fetch()
            if given is None:
                self._slots.release()
                continue
            job = Job(self.client, given)
            with self._lock:
                self._running[job.id] = job
            thread = threading.Thread(target=self._run, args=(job,), daemon=True)
            thread.start()
            threads = [other for other in threads if other.is_alive()] + [thread]
        for thread in threads:
            thread.join()
        try:
            self.client.request("DELETE", f"/workers/{self._id}", patience=0)
        except WindlassError:
            pass  # It has gone already, or will be missed soon.

    def _fetch(self):
        # Short waits, so that a stop is heard soon.
        body = {
            "queues": self.queues, "count": 1, "wait_ms": 2_000, "worker": self._id, "name": self.name,
            "host": socket.gethostname(), "pid": os.getpid(), "client": VERSION, "kinds": sorted(self._handlers),
        }
        try:
            fetched = self.client.request("POST", "/fetch", body, patience=0)
        except WindlassError as error:
            if not error.is_passing:
                raise
            self._stopping.wait(error.retry_after or 0.5)
            return None
        self._heartbeat_s = fetched["heartbeat_ms"] / 1000
        return fetched["jobs"][0] if fetched["jobs"] else None

    def _run(self, job):
        try:
            verb, body = self._attempt(job)
            if not job.lost:
                job._say(verb, **body)
        except StaleLease:
            pass  # The job runs elsewhere by now; our word would not count.
        except WindlassError as error:
            print(f"windlass: the end of job {job.id} could not be told: {error}", flush=True)
        finally:
            with self._lock:
                self._running.pop(job.id, None)
            self._slots.release()

    def _attempt(self, job):
        handler = self._handlers.get(job.kind)
        if handler is None:
            return "fail", {"error": f"this worker has no handler for {job.kind!r}"}
        try:
            result = handler(job.payload, job)
            json.dumps(result)
            return "ack", {"result": result}
        except Snooze as snooze:
            return "snooze", {"delay_ms": snooze.delay_ms}
        except Dead as error:
            return "fail", {"error": str(error), "outcome": "dead"}
        except Exception:
            return "fail", {"error": traceback.format_exc(limit=20)[-8_000:]}

    def _beat(self):
        while True:
            time.sleep(self._heartbeat_s)
            with self._lock:
                running = list(self._running.values())
            if not running:
                continue
            leases = [{"id": job.id, "lease": job._given["lease"]} for job in running]
            try:
                standing = self.client.request("POST", "/heartbeat", {"leases": leases}, timeout=5.0, patience=0)
            except WindlassError:
                continue  # The next one may come through; if none does, the server decides.
            for job, lease in zip(running, standing["leases"]):
                if lease["state"] != "held":
                    job.lost = lease["state"] == "lost"
                    job.stop.set()
