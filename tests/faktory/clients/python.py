"""pyfaktory and faktory from PyPI: push, work, fail, mutate. Ends with status 0 when all is as it should be.

Arguments: pyfaktory or faktory, then the server's address as host:port.
"""
import os
import signal
import sys
import tempfile
import threading
import time

which, address = sys.argv[1:3]
url = f"tcp://{address}"
record = tempfile.NamedTemporaryFile(delete=False).name


def collect(n, text="é"):
    # Handlers run in processes of their own.
    with open(record, "a", encoding="utf-8") as file:
        file.write(f"{n} {text}\n")


def fail(_):
    raise ValueError("as it should")


def lines():
    with open(record, encoding="utf-8") as file:
        return sorted(file.read().splitlines())


def stop_when(done):
    """Ends the worker of this process as an operator would."""

    def watch():
        for _ in range(400):
            if done():
                break
            time.sleep(0.05)
        # Reports wait for a FETCH that is under way on the same connection.
        time.sleep(6)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def run(worker):
    try:
        worker.run()
    except SystemExit:
        # Both end so, also when all is well.
        pass


def with_pyfaktory():
    from pyfaktory import Client, Cmd, Consumer, Job, JobFilter, MutateOperation, Producer, Target

    with Client(faktory_url=url, role="producer") as client:
        producer = Producer(client=client)
        for n in range(5):
            assert producer.push(Job(jobtype="collect", args=[n, "é"], queue="py"))
        assert not producer.push_bulk([Job(jobtype="collect", args=[n, "é"], queue="py") for n in range(5, 9)])
        producer.push(Job(jobtype="fail", args=[1], queue="py", retry=2))
        later = Job(jobtype="collect", args=[9, "é"], queue="py", at="2031-01-01T00:00:00Z")
        producer.push(later)
        everything = JobFilter(jids=None, regexp=None, jobtype="collect")
        client.mutate(MutateOperation(cmd=Cmd.requeue, target=Target.scheduled, filter=everything))
    with Client(faktory_url=url, role="consumer") as client:
        consumer = Consumer(client=client, queues=["py"], concurrency=2)
        consumer.register("collect", collect)
        consumer.register("fail", fail)
        stop_when(lambda: len(lines()) == 10)
        run(consumer)
    assert lines() == [f"{n} é" for n in range(10)], lines()
    with Client(faktory_url=url, role="producer") as client:
        info = client.info()
        assert info["faktory"]["sets"]["retries"] == 1, info
        assert info["faktory"]["sets"]["working"] == 0, info
        client.queue_remove(["py"])


def with_faktory():
    import faktory
    from faktory import Worker

    with faktory.connection(url) as client:
        for n in range(10):
            client.queue("collect", args=(n,), queue="old", priority=7)
        client.queue("fail", args=(1,), queue="old", retry=0)
    worker = Worker(faktory=url, queues=["old"], concurrency=1, use_threads=True)
    worker.register("collect", collect)
    worker.register("fail", fail)
    stop_when(lambda: len(lines()) == 10)
    run(worker)
    assert lines() == [f"{n} é" for n in range(10)], lines()


{"pyfaktory": with_pyfaktory, "faktory": with_faktory}[which]()
os.unlink(record)
print(f"{which}: fine", flush=True)
# Their threads for beats would be waited for.
os._exit(0)
