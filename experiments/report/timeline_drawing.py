"""Schedules printed as tables and drawn as figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from neoteny.core.errors import InputError
from neoteny.core.text import shortened, visible
from neoteny.wrappers.member_schedules import MemberSchedules
from neoteny.wrappers.schedules import Schedule, Waits

LANES = 8
PANELS = 8
POINTS = 800
ROWS = 40
NAMED = 24
BARS = 200
"""Most lanes and panels drawn, points of a curve, lines of a table, names at an axis, and visits
that are drawn as bars."""

_INK, _GREY, _FAINT = "#222222", "#6b6b6b", "#e4e4e4"


def table(
    schedule: Schedule | MemberSchedules,
    total: int,
    names: Sequence[str] = (),
    members: Sequence[str] = (),
) -> str:
    """The tasks of a run with their first and last steps, as text.

    Args:
        schedule: a schedule, or one a member; of lanes that switch one after another, the first
            one's times are given.
        total: environment steps of one member.
        names: of the tasks.
        members: names of the members, in place of their numbers.

    Returns:
        A line for the schedule, one a visit with its task and its steps (of a drift: one a tenth
        of the run with the phase), and one for what was left out beyond 40. Members that agree
        share a table.
    """
    if isinstance(schedule, Schedule):
        return _table(schedule, total, names)
    groups = schedule.groups(members)
    tables = [_table(one, total, names) for one in groups]
    if len(groups) == 1:
        return tables[0]
    pairs = zip(groups.values(), tables, strict=True)
    return "\n\n".join(f"{label}: {text}" for label, text in pairs)


def _table(schedule: Schedule, total: int, names: Sequence[str]) -> str:
    if schedule.gradual:
        steps = [total * k // 10 for k in range(11)]
        rows = [f"{step:>14,} {schedule.phase(step):>8.3f}" for step in steps]
        return "\n".join([repr(schedule), f"{'step':>14} {'phase':>8}", *rows])
    visits = _visits(schedule, total)
    named = _named(schedule, total, names)
    rows = [
        f"{visit:>6} {task:>6} {start:>14,} {end:>14,}"
        + (f"  {visible(names[task])}" if named else "")
        for visit, (task, start, end) in enumerate(visits[:ROWS])
    ]
    head = f"{'visit':>6} {'task':>6} {'from step':>14} {'to step':>14}"
    more = [f"{len(visits) - ROWS:>6} more visits"] if len(visits) > ROWS else []
    if isinstance(schedule, Waits):
        more.append("further switches wait for returns: they are known once they have happened")
    return "\n".join([repr(schedule), head, *rows, *more])


def draw(
    schedule: Schedule | MemberSchedules,
    total: int,
    path: Path | str,
    names: Sequence[str] = (),
    members: Sequence[str] = (),
) -> Path:
    """Draw the tasks of a run over time: bars for tasks, a curve for a drift.

    Where lanes lag behind the first, eight of them are drawn.

    Args:
        schedule: a schedule, or one a member; members that agree share a panel, and at most eight
            panels are drawn.
        total: environment steps of one member.
        path: file to write; its suffix gives the format.
        names: of the tasks.
        members: names of the members, in place of their numbers.

    Returns:
        `path`.

    Raises:
        ValueError: the suffix is of no format that matplotlib writes.
    """
    groups = {schedule: ""} if isinstance(schedule, Schedule) else schedule.groups(members)
    labels = list(groups.values())[:PANELS] if len(groups) > 1 else []
    with rc_context({"text.parse_math": False}):  # a name may hold dollars
        figure = picture(list(groups)[:PANELS], total, names, labels)
    kind = Path(path).suffix.lstrip(".")
    if kind not in figure.canvas.get_supported_filetypes():
        raise InputError(f"{path} ends in {kind or 'nothing'}: use .png, .pdf or .svg")
    figure.savefig(path, dpi=150)
    return Path(path)


def picture(
    schedules: Sequence[Schedule], total: int, names: Sequence[str], labels: Sequence[str]
) -> Figure:
    """The figure that `draw` writes, with a panel a schedule."""
    rows = [_tasks(schedule, total) for schedule in schedules]
    heights = [0.75 + min(0.24 * max(count, 4), 5.0) for count in rows]
    figure = Figure(figsize=(9, sum(heights) + 0.45), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for index, (panel, schedule) in enumerate(zip(panels, schedules, strict=True)):
        _quiet(panel)
        if schedule.gradual or len(schedule.boundaries(total)) > BARS:
            _curve(panel, schedule, total)
        else:
            _bars(panel, schedule, total, names)
        right = ", ".join([*labels[index : index + 1], *_notes(schedule)])
        panel.set_title(right, fontsize=9, loc="right", color=_GREY)
        left = shortened(repr(schedule), max(30, 110 - len(right)))
        panel.set_title(left, fontsize=9, loc="left", color=_INK)
    panels[-1].set_xlabel("environment steps of one member", color=_INK)
    panels[-1].set_xlim(0, total)
    panels[-1].xaxis.set_major_formatter(EngFormatter(sep=" "))
    return figure


def _bars(panel: Axes, schedule: Schedule, total: int, names: Sequence[str]) -> None:
    """A row a task, with a bar a visit; where lanes lag, each has a part of the row's height."""
    count = _tasks(schedule, total)
    delays = _delays(schedule)
    height = 0.76 / len(delays)
    colours = colormaps["viridis"](np.linspace(0.12, 0.85, max(count, 2)))
    for lane, delay in enumerate(delays.tolist()):
        bottom = -0.38 + lane * height
        for task, start, end in _visits(schedule, total):
            begin = start + delay if start else 0
            end = end + delay if end < total else total
            if begin < total:
                span = (begin, min(end, total) - begin)
                panel.broken_barh([span], (task + bottom, height * 0.94), color=colours[task])
    for edge in schedule.boundaries(total):
        panel.axvline(edge, color=_FAINT, linewidth=0.7, zorder=0)
    panel.set_ylim(count - 0.4, -0.6)  # the first task on top, as in the table
    if _named(schedule, total, names) and count <= NAMED:
        panel.set_yticks(range(count), [shortened(visible(name), 30) for name in names[:count]])
    else:
        panel.set_ylabel("task", color=_INK)
        panel.yaxis.set_major_locator(MaxNLocator(8, integer=True))


def _curve(panel: Axes, schedule: Schedule, total: int) -> None:
    """The phase over time; where lanes lag, a curve for each of eight."""
    delays = _delays(schedule)
    steps = np.linspace(0, max(total - 1, 0), POINTS).astype(np.int64)
    shades = colormaps["viridis"](np.linspace(0.12, 0.85, max(len(delays), 2)))
    for delay, shade in zip(delays[::-1], shades[: len(delays)][::-1], strict=True):
        value = schedule.phase(np.clip(steps - delay, 0, None))
        panel.plot(steps, value, color=shade, linewidth=1.6)
    panel.set_ylabel("phase" if schedule.gradual else "task", color=_INK)
    panel.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    if not schedule.gradual:
        panel.invert_yaxis()


def _quiet(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(_GREY)
    panel.tick_params(color=_GREY, labelcolor=_INK, length=3, labelsize=8.5)


def _notes(schedule: Schedule) -> list[str]:
    """Remarks for the margin."""
    lanes = ["eight of the lanes, one after the other"] if len(_delays(schedule)) > 1 else []
    return lanes + (["further switches wait for returns"] if isinstance(schedule, Waits) else [])


def _visits(schedule: Schedule, total: int) -> list[tuple[int, int, int]]:
    """Task, first step and end of each visit within a run."""
    starts = [0, *schedule.boundaries(total)]
    return [
        (schedule.task(start), start, end)
        for start, end in zip(starts, [*starts[1:], total], strict=True)
    ]


def _tasks(schedule: Schedule, total: int) -> int:
    """Number of tasks that come within the run."""
    if schedule.gradual:
        return 0
    return 1 + max(schedule.task(start) for start in (0, *schedule.boundaries(total)))


def _named(schedule: Schedule, total: int, names: Sequence[str]) -> bool:
    return len(names) >= _tasks(schedule, total) > 0


def _delays(schedule: Schedule) -> Any:
    """(lanes,) steps by which the lanes that are drawn come after the first."""
    delays = schedule.delays(LANES)
    return np.zeros(1, np.int64) if delays is None else delays
