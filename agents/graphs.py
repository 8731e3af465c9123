"""Steps recorded once and replayed: on a GPU, one launch instead of some two hundred.

A small network's update takes a GPU less time than the host needs to start its kernels, and so does
a step of environments. A CUDA graph starts them all at once. What is recorded must run the same
operations on the same memory every time, so its inputs are buffers that are filled anew before each
replay, and what the host decides is a key: another key, another recording.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


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

    @property
    def ready(self) -> bool:
        """True if the step has been recorded."""
        return self._recorded

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


class Recordings:
    """The recorded steps of an agent by their names, each with the key that it was recorded under.

    A step that cannot be recorded is run one operation after the other from then on, with a
    warning.

    Args:
        recorder: Makes recorders; None records nothing.
        checks: Replays of each step to be checked: each is run again without the recording, from
            the same memory, and must leave every tensor bit for bit the same.
        agent: The object whose tensors and counters, beside those of `envs`, steps read and write.
    """

    envs: Any = None
    """The environments whose steps are recorded."""

    def __init__(
        self,
        recorder: Callable[[], Recorder] | None,
        checks: int = 0,
        agent: object = None,
    ) -> None:
        self._recorder = recorder
        self._checks = checks
        self._agent = agent
        self._held: Hashable = None
        self._recorded: dict[str, tuple[Hashable, Recorded]] = {}
        self._checked: dict[str, int] = {}

    def __bool__(self) -> bool:
        """True if steps are recorded."""
        return self._recorder is not None

    def steps_key(self, envs: Any, steps: int, memory: Hashable) -> Hashable:
        """Key of a step of environments, whose memory stays where it is from then on.

        Args:
            envs: The environments.
            steps: Steps in a row that are to be alike.
            memory: Addresses of the other tensors that are used and may be replaced.

        Returns:
            None if steps differ, or none is recorded.
        """
        steady = envs.steady(steps) if self else None
        if steady is None:
            return None
        key = steady, memory
        if key != self._held:
            envs.hold_memory()
            self.envs, self._held = envs, key
        return key

    def run(self, name: str, key: Hashable, step: Callable[[], None]) -> bool:
        """Run a step once, replayed where it has been recorded under the key.

        Args:
            name: Name of the step.
            key: Everything that decides which operations it runs and on which memory; None for
                a step that cannot be recorded.
            step: The step, see `Recorded`.

        Returns:
            True if it was replayed, so that no Python code of the step ran.

        Raises:
            RuntimeError: A checked replay left other numbers than the step does.
        """
        if self._recorder is None or key is None:
            step()
            return False
        if name not in self._recorded or self._recorded[name][0] != key:
            self._recorded[name] = key, Recorded(step, self._recorder())
        recorded = self._recorded[name][1]
        if recorded.ready and self._checked.get(name, 0) < self._checks:
            self._checked[name] = self._checked.get(name, 0) + 1
            self._check(name, recorded, step)
            return False
        counts = [] if recorded.ready else counters(self._agent, self.envs)
        try:
            recorded()
        except RuntimeError as error:
            if recorded.ready:
                raise
            for attributes, counter, value in counts:  # the step counted before it failed
                attributes[counter] = value
            self._recorder = None
            reason = str(error).partition("\n")[0]
            warnings.warn(
                f"no CUDA graph of {name} could be recorded ({reason}): "
                "from here on its operations are launched one by one",
                stacklevel=2,
            )
            step()
            return False
        return recorded.replayed

    def forget(self) -> None:
        """Record every step anew, as the tensors that they use are others."""
        self._recorded.clear()

    def _check(self, name: str, recorded: Recorded, step: Callable[[], None]) -> None:
        """Replay, then run the step from the same memory, and compare."""
        memory = reachable(self._agent, self.envs)
        before = {path: place.clone() for path, place in memory.items()}
        recorded()
        replayed = {path: place.clone() for path, place in memory.items()}
        for path, place in memory.items():
            place.copy_(before[path])
        step()
        # Without the tensors of one step alone
        kept = {place.data_ptr() for place in reachable(self._agent, self.envs).values()}
        lasting = [path for path, place in memory.items() if place.data_ptr() in kept]
        wrong = [path for path in lasting if not torch.equal(replayed[path], memory[path])]
        if wrong:
            raise RuntimeError(
                f"the CUDA graph of {name} left other numbers than its operations do, first in "
                f"{wrong[0]}: run without --cuda-graphs, and please report this"
            )


def filled(kept: Sequence[Tensor], new: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Tensors that stay where they are, with the numbers of others.

    Args:
        kept: Those of the last call, or none.
        new: As many, of the same shapes; else they take the place of the old ones.

    Returns:
        The tensors that are kept.
    """
    if [tensor.shape for tensor in kept] != [tensor.shape for tensor in new]:
        return tuple(tensor.clone() for tensor in new)
    for memory, tensor in zip(kept, new, strict=True):
        memory.copy_(tensor)
    return tuple(kept)


def reachable(*roots: object) -> dict[str, Tensor]:
    """The memory that can be reached from objects through their attributes.

    Args:
        *roots: agents, environments and whatever they consist of, of this package or of torch.

    Returns:
        The bytes (n,) uint8 of each memory once, by the first path of attributes that leads to it.
    """
    found: dict[int, tuple[str, Tensor]] = {}
    for path, thing in _walk(roots):
        if isinstance(thing, Tensor) and (storage := thing.untyped_storage()).nbytes():
            raw = torch.empty(0, dtype=torch.uint8, device=thing.device).set_(storage)
            found.setdefault(storage.data_ptr(), (path, raw))
    return dict(found.values())


def counters(*roots: object) -> list[tuple[dict[str, Any], str, int]]:
    """The whole numbers that the host keeps in the attributes of objects.

    Args:
        *roots: as of `reachable`.

    Returns:
        The attributes of an object, the name of one and its value.
    """
    objects = [vars(thing) for _, thing in _walk(roots) if _is_walked(thing)]
    return [
        (attributes, name, value)
        for attributes in objects
        for name, value in attributes.items()
        if type(value) is int
    ]


def _walk(roots: tuple[object, ...]) -> Iterator[tuple[str, object]]:
    """Everything that can be reached from objects through their attributes, by its path."""
    seen: set[int] = set()
    waiting: list[tuple[str, object]] = [(type(root).__name__, root) for root in roots]
    while waiting:
        path, thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        yield path, thing
        if isinstance(thing, Tensor):
            waiting.append((f"{path}.grad", thing.grad if thing.is_leaf else None))
        elif isinstance(thing, Mapping):
            waiting += [(f"{path}.{key}", value) for key, value in thing.items()]
        elif isinstance(thing, list | tuple):
            waiting += [(f"{path}.{place}", value) for place, value in enumerate(thing)]
        elif _is_walked(thing):
            waiting += [(f"{path}.{name}", value) for name, value in vars(thing).items()]


def _is_walked(thing: object) -> bool:
    ours = type(thing).__module__.startswith(("neoteny.", "torch.optim", "torch.nn"))
    return ours and not isinstance(thing, Tensor | Mapping) and hasattr(thing, "__dict__")
