"""TensorBoard's event files: what `tensorboard` shows of one member of a run.

Every part of a run, from its start or a resume to its stop, has a file of its own. TensorBoard
reads them in the order of their names and, where a file says that a session has started, forgets
what it has seen from that step on; the first such message only marks the beginning, so the first
file has one as well. A name begins with a time of day: it is always made later than that of the
files before, whatever the clock says.
"""

from __future__ import annotations

import math
import os
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from neoteny.experiments.run.folders import Appended

__all__ = ["EVENTS", "Events"]

EVENTS = "events.out.tfevents."
"""Beginning of the names of event files."""

SETTLING = 12
"""Points that a step of a curve consists of."""


class Events:
    """Writes one new event file.

    Args:
        folder: Where the file is made, beside those of the run's earlier parts.
        step: Events of earlier files at this step and later are dropped.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        name = f"{EVENTS}{_stamp(folder):010d}.{socket.gethostname()}.{os.getpid()}"
        self._file = Appended(folder / name)
        self._records = RecordWriter(self._file)
        self._add(Event(file_version="brain.Event:2"))
        self._add(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write the finite ones of a step's values under their tags."""
        self.summary(
            step,
            Summary(
                value=[
                    Summary.Value(tag=tag, simple_value=value)
                    for tag, value in values.items()
                    if math.isfinite(value)
                ]
            ),
        )

    def step_to(self, value: float, tag: str, after: int, before: int) -> None:
        """Write a step of a curve that TensorBoard's smoothing does not bend.

        Smoothing averages over points, whatever their steps: after `SETTLING` of them it is there.

        Args:
            value: The new value.
            tag: The curve.
            after: Where the old value was valid last.
            before: Where the next point of the curve is.
        """
        for step in range(after + 1, min(after + 1 + SETTLING, before)):
            self.scalars(step, {tag: value})

    def summary(self, step: int, summary: Summary) -> None:
        """Write a summary that torch's or TensorBoard's own functions made."""
        self._add(Event(step=step, summary=summary))

    def flush(self) -> None:
        """Force the events to the disk."""
        self._file.sync()

    def close(self) -> None:
        """Close the file, which has everything already."""
        self._file.close()

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())


def _stamp(folder: Path) -> int:
    """Seconds since 1970, or one more than the newest file's if the clock went back."""
    stamps = [
        int(found[1])
        for path in folder.glob(f"{EVENTS}*")
        if (found := re.match(r"(\d+)", path.name.removeprefix(EVENTS)))
    ]
    return max([int(time.time()), *(stamp + 1 for stamp in stamps)])
