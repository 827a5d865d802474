"""Records to tables: medians, what bounded each, and where rivals win. Knows nothing of how they were measured."""

import json
import statistics
from pathlib import Path

from .peers import TESTS

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
# Cores from which one is called fully used; sampling and start-up take the rest.
BUSY = 0.85
# Cores that processes beside server and load may use before the run is not to be trusted.
OTHERS = 0.4
# Share of such runs from which on the page says so above everything else.
DISTURBED_MAX = 0.05
RATES = [test for test in TESTS if test != "lat"]


def read(path):
    """The records of a run: (about the run, measured, Windlass alone)."""
    about, measured, alone = {}, [], []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise SystemExit(f"{path}:{number}: {error}; each line is one JSON object") from None
        kind = record.get("record")
        if kind == "about":
            about.update(record)
        elif kind == "measured":
            measured.append(record)
        elif kind == "alone":
            alone.append(record)
    if not measured:
        raise SystemExit(f"{path}: there is no measured record in it")
    return about, measured, alone


def medians(measured, config):
    """One row per peer with this config, Windlass first: tests to medians, and what is known of the peer."""
    rows = {}
    for record in measured:
        if config in record["configs"]:
            rows.setdefault(record["peer"], []).append(record)
    table = []
    for peer, records in rows.items():
        row = {"peer": peer, "tests": {}, **{key: records[0].get(key) for key in ("setting", "durable", "version", "missing")}}
        for test in TESTS:
            good = [r for r in records if r.get("test") == test and "error" not in r and r.get("n")]
            if good:
                row["tests"][test] = _median(good)
        failed = [{"error": "no job in its time", **r} for r in records if r.get("error") or "n" in r and not r["n"]]
        row["failed"] = {r["test"]: r["error"] for r in failed if r.get("test") in TESTS and r["test"] not in row["tests"]}
        # What could not be installed stands in a list of its own.
        if row["tests"] or row["failed"]:
            table.append(row)
    return sorted(table, key=lambda row: row["peer"] != "Windlass")


def _median(records):
    keys = ("rate", "p50_us", "p99_us", "p999_us", "memory_mb", "disk_mb", "server_cores", "client_cores", "machine_cores")
    middle = {"runs": len(records)}
    for key in keys:
        values = [record[key] for record in records if record.get(key) is not None]
        if values:
            middle[key] = statistics.median(values)
    return middle


def bound(run, cpus):
    """What kept a run from being faster, as far as processor times tell."""
    server, client = run.get("server_cores", 0), run.get("client_cores", 0)
    if run.get("machine_cores", 0) - server - client > OTHERS:
        return "other work on the machine"
    if server + client >= BUSY * cpus:
        return f"all {cpus} cores"
    if client >= BUSY and client > server:
        return "the client's core"
    if BUSY <= server:
        return "the server's core"
    return "the disk, and taking turns"


def disturbed(measured):
    """How many runs shared the machine with other work, and of how many."""
    runs = [r for r in measured if "machine_cores" in r and not r.get("error")]
    bad = [r for r in runs if r["machine_cores"] - (r["server_cores"] or 0) - (r["client_cores"] or 0) > OTHERS]
    return len(bad), len(runs)


def number(value):
    return f"{value:,.0f}"


def microseconds(value):
    return f"{value:,.0f} µs" if value < 1000 else f"{value / 1000:,.1f} ms"


def _table(heads, rows):
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _side_by_side(rows):
    """Rates and latencies; the best of each column is bold."""
    tests = [test for test in TESTS if any(test in row["tests"] for row in rows)]
    best = {}
    for test in tests:
        runs = [row["tests"][test] for row in rows if test in row["tests"]]
        best[test] = min(run["p50_us"] for run in runs) if test == "lat" else max(run["rate"] for run in runs)
    body = []
    for row in rows:
        cells = [row["peer"], row["setting"]]
        for test in tests:
            run = row["tests"].get(test)
            if run is None:
                cells.append("failed" if test in row["failed"] else "–")
                continue
            value = run["p50_us"] if test == "lat" else run["rate"]
            text = f"{microseconds(run['p50_us'])} / {microseconds(run['p99_us'])}" if test == "lat" else number(value)
            cells.append(f"**{text}**" if value == best[test] else text)
        body.append(cells)
    heads = ["", "setting"] + [TESTS[test][0] + (" (p50 / p99)" if test == "lat" else "") for test in tests]
    return _table(heads, body)


def _bounds(rows, cpus):
    tests = [test for test in ("enq1", "enq16", "bulk", "drain", "both16") if any(test in row["tests"] for row in rows)]
    body = []
    for row in rows:
        cells = [row["peer"]]
        for test in tests:
            run = row["tests"].get(test)
            if run is None:
                cells.append("–")
            else:
                cells.append(f"{bound(run, cpus)} ({run.get('server_cores', 0):.1f} + {run.get('client_cores', 0):.1f})")
        run = row["tests"].get("bulk", {})
        cells.append(f"{number(run['memory_mb'])} MB" if "memory_mb" in run else "–")
        cells.append(f"{number(run['disk_mb'])} MB" if "disk_mb" in run else "–")
        body.append(cells)
    heads = [""] + [TESTS[test][0] for test in tests] + ["memory after bulk", "disk after bulk"]
    return _table(heads, body)


def wins(rows):
    """Where a rival is better than Windlass, the largest first."""
    own = rows[0]["tests"] if rows and rows[0]["peer"] == "Windlass" else {}
    found = []
    for row in rows[1:]:
        if row["peer"].startswith("Windlass"):
            continue
        for test, run in row["tests"].items():
            if test not in own:
                continue
            if test == "lat":
                ratio, what = own["lat"]["p50_us"] / max(run["p50_us"], 0.1), f"{microseconds(run['p50_us'])} in the middle"
            else:
                ratio, what = run["rate"] / max(own[test]["rate"], 1), f"{number(run['rate'])} jobs/s"
            if ratio > 1:
                found.append((ratio, f"{row['peer']} ({row['setting']}), {TESTS[test][0]}: {ratio:.1f} times, {what}"))
    return [text for _, text in sorted(found, reverse=True)]


def _losses(rows):
    found = wins(rows)
    if len(rows) < 2 or rows[0]["peer"] != "Windlass":
        return "There is nothing to compare in this run."
    return "Where rivals win:\n\n" + ("\n".join(f"- {text}" for text in found) if found else "Nowhere in this run.")


def _alone(alone):
    body = []
    for line in alone:
        if "error" in line:
            body.append([line["name"], "failed: " + line["error"]] + ["–"] * 6)
            continue
        latency = line.get("latency") or {}
        cores = lambda key: "–" if line.get(key) is None else f"{line[key]:.2f}"
        body.append(
            [
                line["phase"],
                number(line["jobs"]),
                f"{line['seconds']:.2f}",
                number(line["jobs_per_second"]) if line["name"] not in ("backlog_restart", "backlog_page", "connections_idle") else "–",
                " / ".join(microseconds(latency[key]) for key in ("p50_us", "p99_us", "p999_us")) if latency else "–",
                f"{cores('server_cores')} + {cores('client_cores')}",
                f"{(line.get('server_rss_bytes') or 0) / 1e6:,.0f} MB",
                f"{(line.get('disk_bytes') or 0) / 1e6:,.0f} MB",
            ]
        )
    heads = ["", "jobs", "seconds", "jobs/s", "p50 / p99 / p99.9", "cores: server + client", "memory", "disk"]
    return _table(heads, body)


def _picture(folder, name, text):
    """The picture for the reader's colours; nothing when it was not drawn."""
    if not (folder / f"{name}-light.png").exists():
        return ""
    place = f"{folder.name}/{name}"
    return (
        "<picture>\n"
        f'  <source media="(prefers-color-scheme: dark)" srcset="{place}-dark.png">\n'
        f'  <img src="{place}-light.png" alt="{text}">\n'
        "</picture>\n\n"
    )


def _about(about, rows):
    machine, disk = about.get("machine", {}), about.get("disk", {})
    lines = [
        f"- Machine: {machine.get('cpus')} × {machine.get('cpu')}, {machine.get('memory_gib')} GiB, {machine.get('system')}, "
        f"Linux {machine.get('kernel')}; server and load share the cores",
    ]
    if disk.get("fdatasync_recycled_per_second"):
        lines.append(
            f"- Disk: 4 KiB appended and `fdatasync` {disk['fdatasync_us']} µs (median); over blocks that were written before "
            f"{disk['fdatasync_recycled_us']} µs, {number(disk['fdatasync_recycled_per_second'])} a second. No rival that is "
            "durable and waits for each confirmation can have more with one producer."
        )
    lines.append(f"- Command: `{about.get('command', 'bench/compare')}`, {about.get('date', 'date unknown')}")
    versions = sorted({f"{row['peer']} {row['version']}" for row in rows if row.get("version")})
    lines.append(f"- Versions: {', '.join(versions)}")
    return "\n".join(lines)


def figures(about, measured, alone, folder):
    """Everything between the marks of docs/benchmarks.md."""
    durable, default = medians(measured, "durable"), medians(measured, "default")
    cpus = about.get("machine", {}).get("cpus") or 1
    parts = [_about(about, durable + default)]
    bad, runs = disturbed(measured)
    if bad > runs * DISTURBED_MAX:
        parts.append(
            f"**Other work disturbed {bad} of {runs} runs of this record, more than {OTHERS} cores of it. Measure again on a quiet "
            "machine before you believe or quote a figure.**"
        )
    parts.append("### Durable: a confirmed job survives a power cut\n")
    parts.append(_picture(folder, "durable", "Rates in durable settings, as multiples of Windlass") + _side_by_side(durable))
    parts.append(_losses(durable))
    if any(not row["durable"] for row in default):
        parts.append("### As they come, durable or not\n")
        safe = sorted({row["peer"] for row in default if row["durable"]})
        parts.append(
            f"Durable as they come: {', '.join(safe)}. The others may lose confirmed jobs in a power cut.\n\n"
            + _picture(folder, "default", "Rates in default settings, as multiples of Windlass")
            + _side_by_side(default)
        )
        parts.append(_losses(default))
    parts.append("### What bounded each\n")
    parts.append(
        "Cores that server and client kept busy stand in brackets.\n\n"
        + _bounds(durable + [row for row in default if not row["durable"]], cpus)
    )
    if alone:
        parts.append("### Windlass alone\n")
        parts.append(_alone(alone))
        series = _picture(folder, "series", "The largest backlog over time: jobs, memory, disk")
        if series:
            parts.append(series.strip())
    missing = [r for r in measured if r.get("missing")]
    if missing:
        lines = [f"- {r['peer']} ({r['setting']}): {r['missing']}" for r in missing]
        parts.append("### Not measured\n")
        parts.append("\n".join(lines))
    failed = [(row, test, why) for row in durable + default for test, why in row["failed"].items()]
    if failed:
        lines = {f"- {row['peer']} ({row['setting']}), {TESTS[test][0]}: {why}" for row, test, why in failed if test in TESTS}
        parts.append("Failed runs:\n\n" + "\n".join(sorted(lines)))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def write(path, text):
    """Puts the figures between the marks of the page; makes a bare page when there is none."""
    page = path.read_text() if path.exists() else f"# Benchmarks\n\n{BEGIN}\n{END}\n"
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path}: the marks {BEGIN} and {END} are missing; the figures go between them")
    path.write_text(f"{head}{BEGIN}\n\n{text}\n{END}{tail}")
