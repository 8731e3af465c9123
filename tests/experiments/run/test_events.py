"""Curves of killed and resumed runs, read as TensorBoard reads them."""

import os
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext

from neoteny.experiments.run import events
from neoteny.experiments.run.recorder import Recorder

CONFIG = {"arm": "ppo-none", "steps": 100}
READERS = {"one file": None, "many files": lambda newest: True}


class Board:
    """TensorBoard's own backend, watching a run as it grows."""

    def __init__(self, folder: Path, reader: str) -> None:
        self.multiplexer = EventMultiplexer(event_file_active_filter=READERS[reader])
        self.multiplexer.AddRunsFromDirectory(str(folder))
        self.provider = MultiplexerDataProvider(self.multiplexer, str(folder))

    def scalars(self, tag: str) -> list[tuple[int, float]]:
        self.multiplexer.Reload()
        (series,) = self.provider.read_scalars(
            RequestContext(), experiment_id="", plugin_name="scalars", downsample=1000
        ).values()
        return [(point.step, point.value) for point in series[tag]]

    def tags(self, plugin: str) -> set[str]:
        found = self.provider.list_tensors(RequestContext(), experiment_id="", plugin_name=plugin)
        return {tag for tags in found.values() for tag in tags}


def record(recorder: Recorder, steps: range, value: float) -> None:
    for step in steps:
        recorder.record(step, {"charts/x": value + step, "task": 1})


def part(folder: Path, saved: dict | None, steps: range, keep: int, value: float) -> dict:
    """Record steps, of which the checkpoint keeps those up to `keep`, as after a kill."""
    with Recorder(folder, [0], CONFIG, saved) as recorder:
        record(recorder, range(steps.start, keep + 1), value)
        saved = recorder.state_dict()
        record(recorder, range(keep + 1, steps.stop), value)
    return saved


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("clock", [0, 100, -100_000], ids=["still", "forward", "back"])
def test_each_step_is_shown_once_however_often_a_run_was_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, clock: int
) -> None:
    now = 1_700_000_000
    monkeypatch.setattr(events.time, "time", lambda: float(now))
    saved = part(tmp_path, None, range(1, 6), 3, 0.0)
    live = Board(tmp_path, reader)
    assert live.scalars("run/x") == [(step, step) for step in range(1, 6)]
    for value in (1000, 2000):  # twice from one checkpoint
        now += clock
        part(tmp_path, saved, range(4, 8), 5, value)
    wanted = [*((step, step) for step in range(1, 4)), *((s, 2000 + s) for s in range(4, 8))]
    assert live.scalars("run/x") == wanted
    now += clock
    saved = part(tmp_path, saved, range(4, 10), 7, 3000)
    now += clock
    part(tmp_path, saved, range(8, 9), 8, 4000)
    wanted = [*wanted[:3], *((s, 3000 + s) for s in range(4, 8)), (8, 4008)]
    for board in (live, Board(tmp_path, reader)):
        assert board.scalars("run/x") == wanted
        assert board.scalars("continual/task") == [(step, 1.0) for step in range(1, 9)]
        assert board.tags("text") == {"config/text_summary"}
        assert board.tags("custom_scalars") == {"custom_scalars__config__"}


@pytest.mark.parametrize("reader", READERS)
def test_a_run_killed_before_its_first_row_shows_all_of_the_next(
    tmp_path: Path, reader: str
) -> None:
    with Recorder(tmp_path, [0], CONFIG) as recorder:
        saved = recorder.state_dict()
        record(recorder, range(1, 3), 0.0)
    part(tmp_path, saved, range(1, 4), 3, 10.0)
    assert Board(tmp_path, reader).scalars("run/x") == [(1, 11.0), (2, 12.0), (3, 13.0)]


def test_a_record_that_a_kill_cut_short_hides_nothing_else(tmp_path: Path) -> None:
    saved = part(tmp_path, None, range(1, 6), 3, 0.0)
    (first,) = (tmp_path / "seed_0").glob(f"{events.EVENTS}*")
    os.truncate(first, first.stat().st_size - 5)
    part(tmp_path, saved, range(4, 6), 5, 10.0)
    for reader in READERS:
        shown = Board(tmp_path, reader).scalars("run/x")
        assert shown == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 14.0), (5, 15.0)]
