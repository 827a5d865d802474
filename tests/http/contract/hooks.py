"""What a tool that knows only the document cannot know: ids, leases and names that exist, and that waiting is no test.

Every other request about a job, a lease, a worker or a schedule is about one that is there. Long polls last 50 ms at most.
"""

import schemathesis

SHORT_MS = 50
known = {"jobs": [], "leases": [], "workers": [], "schedules": []}
turns = {}


def remember(kind, thing):
    known[kind] = (known[kind] + [thing])[-50:]


def turn(label):
    turns[label] = turns.get(label, 0) + 1
    return turns[label] % 2 == 1


def shorten(carrier, name):
    value = carrier.get(name, SHORT_MS + 1)
    try:
        long = float(value) > SHORT_MS
    except (TypeError, ValueError):
        return  # What is no number is refused at once.
    if long:
        carrier[name] = SHORT_MS


def put_in(case):
    """Takes something that exists instead of what was made up."""
    path = case.path_parameters or {}
    label = case.operation.label
    if isinstance(case.body, dict) and "lease" in case.body and known["leases"]:
        # The first word about a lease mostly ends it; the second one finds it stale.
        job = known["leases"].pop(0) if turn(label + " lease") else known["leases"][0]
        path["id"], case.body["lease"] = job["id"], job["lease"]
    elif isinstance(case.body, dict) and "leases" in case.body and known["leases"]:
        case.body["leases"] = [{"id": job["id"], "lease": job["lease"]} for job in known["leases"][:1]]
    elif "id" in path and known["jobs"]:
        path["id"] = known["jobs"][turns[label] % len(known["jobs"])]
    if isinstance(case.body, dict) and label in ("POST /api/v1/jobs", "POST /api/v1/fetch"):
        # Jobs and fetches meet in one queue, or there would never be a lease.
        case.body.pop("queue", None)
        case.body.pop("weights", None)
        case.body.pop("queues", None)
        case.body.pop("delay_ms", None)
        case.body.pop("run_at", None)
    if isinstance(case.body, dict) and "/schedules" in label and "kind" in case.body:
        # A document cannot say "one of the two", so what was made up has mostly both or none.
        case.body.pop("cron", None)
        case.body.update({"name": path.get("name", "nightly"), "every_ms": 3_600_000, "zone": "UTC"})
    if "worker" in path and known["workers"]:
        path["worker"] = known["workers"].pop()
    if "name" in path and known["schedules"] and "kind" not in (case.body if isinstance(case.body, dict) else {}):
        path["name"] = known["schedules"][-1]


@schemathesis.hook
def before_call(context, case, kwargs):
    label = case.operation.label
    if turn(label):
        put_in(case)
    if label.endswith("/fetch"):
        if not isinstance(case.body, (dict, list, str, int, float)):
            case.body = {}
        if isinstance(case.body, dict):
            shorten(case.body, "wait_ms")
    if label.endswith("/wait"):
        case.query = dict(case.query or {})
        shorten(case.query, "timeout_ms")


@schemathesis.hook
def after_call(context, case, response):
    if response.status_code not in (200, 201):
        return
    label = case.operation.label
    if "/api/v1/" not in label:
        return
    said = response.json()
    if label == "POST /api/v1/jobs":
        remember("jobs", said["id"])
    elif label.endswith("/fetch"):
        remember("workers", said["worker"])
        for job in said["jobs"]:
            remember("leases", job)
    elif label in ("POST /api/v1/schedules", "PUT /api/v1/schedules/{name}"):
        remember("schedules", said["name"])
