"""A schedule printed as a table and drawn as a figure."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from neoteny.wrappers.schedule import Schedule

LANES = 8
POINTS = 800
ROWS = 40


def table(schedule: Schedule, total: int) -> str:
    """What is played from when to when.

    Args:
        schedule: a schedule; of lanes that switch one after another, the first one's times.
        total: environment steps of one member.

    Returns:
        A line for the schedule, one a visit with its task and its steps (of a drift: one a tenth
        of the run with the phase), and one for what was left out beyond 40.
    """
    if schedule.gradual:
        steps = [total * k // 10 for k in range(11)]
        rows = [f"{step:>14,} {schedule.phase(step):>8.3f}" for step in steps]
        return "\n".join([repr(schedule), f"{'step':>14} {'phase':>8}", *rows])
    starts = [0, *schedule.boundaries(total)]
    ends = [*starts[1:], total]
    rows = [
        f"{visit:>6} {schedule.task(start):>6} {start:>14,} {end:>14,}"
        for visit, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
    head = f"{'visit':>6} {'task':>6} {'from step':>14} {'to step':>14}"
    more = [f"{len(rows) - ROWS:>6} more visits"] if len(rows) > ROWS else []
    return "\n".join([repr(schedule), head, *rows[:ROWS], *more])


def draw(schedule: Schedule, total: int, path: Path | str, names: tuple[str, ...] = ()) -> Path:
    """Draw the task over time; where lanes lag behind the first, eight of them.

    Args:
        schedule: a schedule.
        total: environment steps of one member.
        path: file to write; its suffix says which format.
        names: of the tasks, at the ticks of the axis.

    Returns:
        `path`.
    """
    delays = schedule.delays(LANES)
    delays = np.zeros(1, np.int64) if delays is None else delays
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    steps = np.linspace(0, max(total - 1, 0), POINTS).astype(np.int64)
    edges = schedule.boundaries(total)
    shades = colormaps["viridis"](np.linspace(0, 0.85, len(delays)))
    for delay, shade in zip(delays[::-1], shades[::-1], strict=True):
        exact = [edge + int(delay) for edge in edges]
        places = np.union1d(steps, [p for e in exact for p in (e - 1, e) if 0 <= p < total])
        places = places.astype(np.int64)
        value = schedule.phase(np.clip(places - delay, 0, None))
        axes.plot(places, value, color=shade, linewidth=1.6, label=f"{delay:,} steps later")
    if len(delays) > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("environment steps of one member")
    axes.set_ylabel("phase" if schedule.gradual else "task")
    axes.set_xlim(0, total)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_locator(MaxNLocator(8, integer=True))
    if names:
        axes.set_yticks(range(len(names)), names)
        axes.set_ylabel("")
    axes.set_title(_shortened(repr(schedule)), fontsize=9, loc="left")
    figure.savefig(path, dpi=150)
    return Path(path)


def _shortened(text: str, limit: int = 100) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
