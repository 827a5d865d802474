"""Pictures of records, each for light and for dark pages. matplotlib is imported only when there is something to draw."""

import csv

from .peers import TESTS
from .report import medians, microseconds

# Ink, faint lines, rivals, Windlass: readable on GitHub's light and dark pages, which the transparent ground shows.
COLOURS = {
    "light": {"ink": "#1f2328", "faint": "#d0d7de", "rival": "#9aa4af", "own": "#0b6bcb", "second": "#c2410c"},
    "dark": {"ink": "#e6edf3", "faint": "#30363d", "rival": "#6e7681", "own": "#58a6ff", "second": "#f59e0b"},
}
PANELS = ["enq1", "enq16", "bulk", "drain", "both16", "lat"]
DPI = 144


def available():
    """Whether matplotlib is there."""
    try:
        import matplotlib

        matplotlib.use("Agg")
    except ImportError:
        return False
    return True


def draw(measured, folder, series=None):
    """All pictures into a folder; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for config in ("durable", "default"):
        rows = medians(measured, config)
        if not (rows and rows[0]["peer"] == "Windlass" and rows[0]["tests"]):
            continue
        for theme, colours in COLOURS.items():
            path = folder / f"{config}-{theme}.png"
            _ratios(rows, path, colours)
            drawn.append(path)
    if series and series.exists():
        for theme, colours in COLOURS.items():
            path = folder / f"series-{theme}.png"
            draw_series(series, path, colours)
            drawn.append(path)
    return drawn


def _style(axes, colours):
    axes.set_facecolor("none")
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=colours["ink"], length=0, labelsize=8)
    axes.grid(axis="x", color=colours["faint"], linewidth=0.6)
    axes.set_axisbelow(True)


def _ratios(rows, path, colours):
    """A panel per workload: how many times as good as Windlass each is; longer is better everywhere."""
    from matplotlib import pyplot
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    own = rows[0]["tests"]
    panels = [test for test in PANELS if test in own]
    columns = 2
    lines = (len(panels) + 1) // columns
    most = max(sum(test in row["tests"] for row in rows) for test in panels)
    figure, grid = pyplot.subplots(lines, columns, figsize=(11, lines * (0.7 + 0.24 * most)), squeeze=False)
    figure.patch.set_alpha(0)
    for axes, test in zip(grid.flat, panels):
        bars = []
        for row in rows:
            run = row["tests"].get(test)
            if not run:
                continue
            if test == "lat":
                ratio, text = own["lat"]["p50_us"] / max(run["p50_us"], 0.1), microseconds(run["p50_us"])
            else:
                ratio, text = run["rate"] / max(own[test]["rate"], 1), f"{run['rate']:,.0f}/s"
            bars.append((ratio, row["peer"], text))
        bars.sort()
        least = min(0.05, min(bar[0] for bar in bars) * 0.7)
        for at, (ratio, peer, text) in enumerate(bars):
            axes.barh(at, ratio - least, left=least, height=0.66, color=colours["own" if peer == "Windlass" else "rival"])
            times = "" if peer == "Windlass" else f"   {_short(ratio)}×"
            axes.text(ratio * 1.06, at, text + times, va="center", fontsize=7.5, color=colours["ink"])
        axes.set_yticks(range(len(bars)), [bar[1] for bar in bars])
        axes.set_xscale("log")
        ticks = [0.001, 0.01, 0.1, 1, 10, 100]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FixedFormatter([f"{tick:g}×" for tick in ticks]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(least, max(bar[0] for bar in bars) * 6)
        axes.axvline(1, color=colours["own"], linewidth=1, zorder=0.5)
        _style(axes, colours)
        for label in axes.get_yticklabels():
            label.set_fontweight("bold" if label.get_text() == "Windlass" else "normal")
        head = TESTS[test][0] + (" (p50; longer bar is sooner)" if test == "lat" else ", jobs/s")
        axes.set_title(head, loc="left", fontsize=9.5, fontweight="bold", color=colours["ink"])
    for axes in list(grid.flat)[len(panels):]:
        axes.set_visible(False)
    figure.tight_layout(h_pad=1.4, w_pad=1.5)
    figure.savefig(path, dpi=DPI, transparent=True)
    pyplot.close(figure)


def _short(ratio):
    """Two digits that count: 12, 1.2, 0.12, 0.0012."""
    return f"{ratio:.0f}" if ratio >= 10 else f"{float(f'{ratio:.1e}'):g}" if ratio >= 0.0001 else "<0.0001"


def _numbers(rows, key):
    return [float(row[key]) if row[key] else float("nan") for row in rows]


def draw_series(source, path, colours):
    """A file of `windlass bench --series`: rates, p99, memory and disk over time."""
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    with open(source, newline="") as file:
        rows = list(csv.DictReader(file))
    if len(rows) < 2:
        raise SystemExit(f"{source}: fewer than two lines; the run was too short to be drawn")
    seconds = _numbers(rows, "seconds")
    figure, grid = pyplot.subplots(3, 1, figsize=(11, 7), sharex=True)
    figure.patch.set_alpha(0)
    for key, colour, name in (("enqueued", "own", "confirmed"), ("run", "second", "run")):
        rates = _rates(seconds, _numbers(rows, key))
        grid[0].plot(seconds[1:], rates, color=colours[colour], linewidth=1, label=name)
    grid[0].set_title("jobs/s", loc="left", fontsize=9.5, color=colours["ink"])
    grid[1].plot(seconds, [value / 1000 for value in _numbers(rows, "p99_us")], ".", color=colours["own"], markersize=2)
    grid[1].set_yscale("log")
    grid[1].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    grid[1].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    grid[1].yaxis.set_minor_locator(NullLocator())
    grid[1].set_title("p99 of each 100 ms, ms", loc="left", fontsize=9.5, color=colours["ink"])
    for key, colour, name in (("server_rss_bytes", "own", "memory"), ("disk_bytes", "second", "disk")):
        grid[2].plot(seconds, [value / 1e6 for value in _numbers(rows, key)], color=colours[colour], linewidth=1, label=name)
    grid[2].set_title("MB", loc="left", fontsize=9.5, color=colours["ink"])
    grid[2].set_xlabel("seconds", color=colours["ink"], fontsize=8)
    grid[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for axes in grid:
        _style(axes, colours)
        _mark_phases(axes, rows, colours)
        axes.grid(axis="y", color=colours["faint"], linewidth=0.6)
    for axes in (grid[0], grid[2]):
        axes.legend(frameon=False, labelcolor=colours["ink"], fontsize=8, loc="upper right")
        axes.set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path, dpi=DPI, transparent=True)
    pyplot.close(figure)


def _mark_phases(axes, rows, colours):
    """A line where a phase begins, with its name at the top of the first panel."""
    names = [row["phase"] for row in rows]
    changes = [at for at in range(1, len(rows)) if names[at] != names[at - 1]]
    for at, after in zip(changes, [*changes[1:], len(rows) - 1]):
        begin, end = float(rows[at]["seconds"]), float(rows[after]["seconds"])
        axes.axvline(begin, color=colours["faint"], linewidth=0.8)
        # Short phases follow each other too closely to be named.
        if end - begin >= float(rows[-1]["seconds"]) / 40 and axes.get_subplotspec().is_first_row():
            axes.annotate(
                " " + names[at].replace("_", " "),
                (begin, 1),
                xycoords=("data", "axes fraction"),
                rotation=90,
                va="top",
                ha="left",
                fontsize=6.5,
                color=colours["rival"],
            )


def _rates(seconds, totals):
    pairs = zip(zip(seconds, totals), zip(seconds[1:], totals[1:]))
    # A new scenario counts from 0 again.
    return [max(0.0, (b - a) / max(t - s, 0.01)) for (s, a), (t, b) in pairs]
