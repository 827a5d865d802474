"""The Celery application, for the producer and for its worker."""

import os
import time

from celery import Celery

app = Celery("bench", broker=os.environ["BROKER"])
app.conf.update(
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    worker_hijack_root_logger=False,
    task_acks_late=os.environ.get("ACKS_LATE") == "1",
    worker_prefetch_multiplier=int(os.environ.get("PREFETCH", "4")),
    broker_connection_retry_on_startup=True,
    worker_send_task_events=False,
    task_track_started=False,
)
LATENCIES = os.environ.get("LAT_FILE")


@app.task
def noop(payload):
    if LATENCIES:
        with open(LATENCIES, "a") as file:
            file.write(f"{time.monotonic_ns() - int(payload[16:32], 16)}\n")
