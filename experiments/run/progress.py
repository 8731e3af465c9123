"""The progress line of a run: steps/s, return, task and time left."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from neoteny.core.text import shortened, visible
from neoteny.experiments.run.folders import MEASURES

__all__ = ["Progress"]


class Progress:
    """A bar on a terminal; elsewhere a line every half minute.

    Args:
        console: Where to draw.
        name: What is running.
        total: Environment steps per member in all.
        start: Steps already done when resuming.
    """

    seconds_between_lines = 30.0

    def __init__(self, console: Console, name: str, total: int, start: int = 0) -> None:
        self.console = console
        self.name = shortened(visible(name), 60)
        self.total = total
        self._start = start
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps", markup=False),
            TextColumn("{task.fields[sps]:,.0f} steps/s", markup=False),
            TextColumn("{task.fields[measure]} {task.fields[value]:.2f}", markup=False),
            TextColumn("{task.fields[task_names]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._id = self._bar.add_task(
            self.name,
            total=total,
            completed=start,
            sps=0.0,
            measure="",
            value=math.nan,
            task_names="",
        )
        self._values: dict[int, float] = {}
        self._began = self._printed = time.monotonic()

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, step: int, host: Mapping[str, Sequence[float]], tasks: Sequence[str]) -> None:
        """Show an iteration's numbers.

        Args:
            step: Environment steps of one member so far.
            host: What the recorder returned; its return or accuracy and `charts/SPS` are shown.
            tasks: The task of each member.
        """
        key = next(key for key in MEASURES if key in host)
        for member, value in enumerate(host[key]):
            if math.isfinite(value):
                self._values[member] = value
        mean = sum(self._values.values()) / len(self._values) if self._values else math.nan
        playing = shortened(visible(", ".join(dict.fromkeys(tasks))), 80)
        sps = host["charts/SPS"][0]
        self._bar.update(
            self._id,
            completed=step,
            sps=sps,
            measure=MEASURES[key],
            value=mean,
            task_names=playing,
        )
        if self.console.is_terminal:
            return
        now = time.monotonic()
        if now - self._printed > self.seconds_between_lines or step >= self.total:
            left = (self.total - step) * (now - self._began) / max(step - self._start, 1)
            self.console.print(
                f"{self.name}: {step:,}/{self.total:,} steps, {sps:,.0f} steps/s, "
                f"{MEASURES[key]} {mean:.2f}, "
                f"{playing}, {left / 60:.1f} min left",
                soft_wrap=True,
            )
            self._printed = now
