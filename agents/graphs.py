"""An update recorded once and replayed: on a GPU, one launch instead of some two hundred.

A small network's update takes a GPU less time than the host needs to start its kernels. A CUDA
graph starts them all at once. What is recorded must run the same operations on the same memory
every time, so its inputs are buffers that are filled anew before each replay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

__all__ = ["CudaGraph", "Recorded", "Recorder"]


class Recorder(Protocol):
    """Records a step and replays it."""

    def warm_up(self, step: Callable[[], None]) -> None:
        """Run the step as it will be recorded, with all its effects."""

    def record(self, step: Callable[[], None]) -> None:
        """Record the step; its tensors may stay unchanged."""

    def replay(self) -> None:
        """Run the recorded step."""


class CudaGraph:
    """Records with CUDA graphs.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm_up(self, step: Callable[[], None]) -> None:
        """Run the step on a stream of its own, as capturing needs."""
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            step()
        current.wait_stream(self._stream)

    def record(self, step: Callable[[], None]) -> None:
        """Capture the step; its kernels do not run."""
        with torch.cuda.graph(self._graph, stream=self._stream):
            step()

    def replay(self) -> None:
        """Launch the captured kernels on the current stream."""
        self._graph.replay()


class Recorded:
    """A step that is run a few times, then recorded, and from then on replayed.

    Every call has the step's effects exactly once. Python code in the step runs at the first
    `warm_up + 1` calls only; `replayed` is True if the last call ran none.

    Args:
        step: Runs the same operations on the same memory at every call, reads nothing back to the
            host and takes no argument.
        recorder: Records and replays the step.
        warm_up: Calls before recording, in which lazy state is created.
    """

    def __init__(self, step: Callable[[], None], recorder: Recorder, warm_up: int = 3) -> None:
        self._step = step
        self._recorder = recorder
        self._left = warm_up
        self._recorded = False
        self.replayed = False

    def __call__(self) -> None:
        """Run the step once."""
        if self._left:
            self._left -= 1
            self._recorder.warm_up(self._step)
            return
        self.replayed = self._recorded
        if not self._recorded:
            self._recorder.record(self._step)
            self._recorded = True
        self._recorder.replay()
