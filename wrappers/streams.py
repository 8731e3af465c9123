"""Streams of tasks by name: what `--env` accepts besides the id of a single environment."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol, TypeAlias

import torch

from neoteny import envs
from neoteny.core.errors import InputError
from neoteny.core.names import closest
from neoteny.core.options import fit, fit_all, keywords, show
from neoteny.core.ranks import ALONE, Ranks
from neoteny.core.registry import Registry
from neoteny.envs.arguments import member_seeds
from neoteny.envs.host_single import host_ids
from neoteny.envs.shared_lanes import SharedLanes
from neoteny.wrappers.aliases import Options
from neoteny.wrappers.member_schedules import MemberSchedules
from neoteny.wrappers.schedules import Periodic, Schedule
from neoteny.wrappers.taskswitch import TaskSwitch
from neoteny.wrappers.vector import NonStationaryVector
from neoteny.wrappers.vector_base import CheckActions

Stream: TypeAlias = TaskSwitch | NonStationaryVector

TASK_STEPS = 2_000_000
TAKEN = {*inspect.signature(envs.make).parameters, *inspect.signature(TaskSwitch).parameters}
TAKEN = TAKEN - {"backend", "options"} | {"name", "context"}
"""Names that options of an environment cannot have, since builders of streams take them."""


@dataclass(frozen=True)
class StreamContext:
    """Arguments that the builder of every stream gets.

    Args:
        num_envs: N, lanes a member.
        device: where tensors live.
        seeds: (M,) seeds.
        task_steps: environment steps of one member in a task, None for the stream's own choice.
        steps_per_iteration: a task lasts a whole number of so many steps, rounded up.
        render_mode: None or "rgb_array".
        steps: environment steps of one member in the run, None if nobody knows.
        ranks: the processes that share the lanes.
    """

    num_envs: int
    device: torch.device
    seeds: tuple[int, ...]
    task_steps: int | None
    steps_per_iteration: int
    render_mode: str | None = None
    steps: int | None = None
    ranks: Ranks = ALONE

    @property
    def members(self) -> int:
        """M."""
        return len(self.seeds)

    def period(self, default: int) -> int:
        """Steps a task lasts, a multiple of `steps_per_iteration`."""
        steps = default if self.task_steps is None else self.task_steps
        return -(-steps // self.steps_per_iteration) * self.steps_per_iteration

    def complete(self, options: Mapping[str, object], **fixed: object) -> Options:
        """Options of a user's with those that a stream gives its environments itself.

        Args:
            options: the user's.
            **fixed: the stream's.

        Raises:
            InputError: an option is fixed, or is not one of the environment.
        """
        for name in options:
            if name in fixed:
                raise InputError(f"option {name!r} is fixed by the stream: leave it out")
            if name in TAKEN:
                raise InputError(
                    f"option {name!r} is none of the environment's: see --help for what sets it"
                )
        drawn = {} if self.render_mode is None else {"render_mode": self.render_mode}
        return {**options, **fixed, **drawn}

    def make(self, name: str, **options: object) -> Any:
        """The environment `name` for all members."""
        completed = self.complete(options)
        return self.build(
            name, self.num_envs, self.members, self.device, list(self.seeds), **completed
        )

    def chain(
        self, ids: Sequence[str], schedule: Schedule | MemberSchedules, **options: Any
    ) -> TaskSwitch:
        """Environments that are played in turn, one a task; see `TaskSwitch` for the options."""
        lanes = self.num_envs, self.members, self.device, self.seeds
        return TaskSwitch(ids, schedule, *lanes, make=self.build, **options)

    def build(
        self,
        name: str,
        num_envs: int,
        members: int,
        device: torch.device | str,
        seeds: int | Sequence[int],
        **options: Any,
    ) -> Any:
        """An environment as `neoteny.envs.make` has it, its lanes shared by the processes."""

        def make(lanes: int) -> Any:
            return envs.make(name, lanes, members, device, seeds, **options)

        if self.ranks.alone or num_envs % self.ranks.size:
            return make(num_envs)
        return SharedLanes(make, num_envs, self.ranks)


Builder = Callable[..., Stream]

STREAMS: Registry[Builder] = Registry("stream")
"""Builders by the names of their streams: functions of a StreamContext that take the stream's
options by keyword."""


class Definition(Protocol):
    """A stream that is not in `STREAMS`, such as one that `read_stream` read from a file."""

    def build(self, context: StreamContext, options: Mapping[str, object]) -> Stream:
        """Builds the stream with a user's options."""


def _single(context: StreamContext, name: str, options: dict[str, object]) -> NonStationaryVector:
    """One environment for the whole run: a stream of one task."""
    env = context.make(name, **options)
    return NonStationaryVector(
        env, Periodic(context.period(TASK_STEPS), tasks=1), task_names=[name]
    )


def make_stream(
    name: str | Definition,
    num_envs: int,
    members: int = 1,
    device: torch.device | str = "cpu",
    seed: int | Sequence[int] = 0,
    task_steps: int | None = None,
    steps_per_iteration: int = 1,
    debug: bool = False,
    render_mode: str | None = None,
    **options: object,
) -> Stream | CheckActions:
    """Build a stream by name or from its definition, or an environment id as one of one task.

    Args:
        name: one of `STREAMS`, an id that `neoteny.envs.make` knows, or what `read_stream` read
            from a user's file.
        num_envs: N, lanes a member.
        members: M.
        device: where tensors live.
        seed: of member 0, member m having `seed + m`; or M seeds.
        task_steps: environment steps of one member in a task; None for the stream's own choice.
        steps_per_iteration: tasks last a whole number of so many steps, rounded up; give the steps
            that one member plays between two updates.
        debug: refuse actions out of range, which makes every step wait for the device.
        render_mode: "rgb_array" makes `render` draw frames, of the environment as it is: changes
            of observations, actions and rewards do not show.
        **options: the stream's own, see its docstring.

    Returns:
        A vector environment of M * N lanes with `schedule`, `task_names`, `tasks_at(step)`
        and `boundaries(total)`.

    Raises:
        ValueError: the name or an option is unknown, or a count is not positive.
    """
    task_steps = fit("task_steps", task_steps, int | None, "at least 1")
    steps_per_iteration = fit("steps_per_iteration", steps_per_iteration, int, "at least 1")
    seeds = member_seeds(seed, members)
    context = StreamContext(
        num_envs, torch.device(device), seeds, task_steps, steps_per_iteration, render_mode
    )
    stream = build_stream(name, context, options)
    return CheckActions(stream) if debug else stream


def build_stream(
    name: str | Definition, context: StreamContext, options: dict[str, object]
) -> Stream:
    """Build a stream as `make_stream` does, with options that may have any names.

    Raises:
        InputError: the name or an option is unknown, or a value does not fit.
    """
    context.complete(options)  # refuses names that the builders take
    stream = _build(name, context, options)
    if context.steps is not None:
        _check_reach(stream, context.steps)
    return stream


def _build(name: str | Definition, context: StreamContext, options: dict[str, object]) -> Stream:
    if not isinstance(name, str):
        return name.build(context, options)
    if name in STREAMS:
        builder = STREAMS[name]
        _check_options(name, builder, options)
        stream = builder(context, **fit_all(options, keywords(builder)))
        if not hasattr(stream, "task_names"):
            raise InputError(
                f"stream {name!r} returns {show(stream)}: return an environment with a "
                "schedule, as NonStationaryVector makes"
            )
        return stream
    return _single(context, resolve(name), options)


def resolve(name: str) -> str:
    """The whole id of an environment; see `neoteny.envs.resolve`.

    Raises:
        InputError: there is neither a stream nor an environment of that name.
    """
    try:
        return envs.resolve(name)
    except InputError as error:
        raise InputError(f"unknown stream or environment {name!r}: {_way_to(name)}") from error


def _way_to(name: str) -> str:
    """The remedy for an unknown environment: the package that has it, or the nearest name."""
    if re.match(r"ALE/|\w+NoFrameskip-v\d", name) and find_spec("ale_py") is None:
        return "`pip install ale-py` brings Atari's games"
    if near := closest(name, [*STREAMS, *envs.registered(), *host_ids()]):
        return f"did you mean {near!r}?"
    if re.search(r"-v\d+$", name):
        return (
            "if a file or module of yours registers it with Gymnasium, name that as in "
            f"--plugin my_envs.py or --env my_envs:{name.rpartition(':')[2]}"
        )
    return "see `list streams` and `list envs`, or name its module as in module:id"


def _check_reach(stream: Stream, steps: int) -> None:
    """Refuse a stream whose schedule comes to a task that it has no environment or name for."""
    chain = stream if isinstance(stream, TaskSwitch) else stream.unwrapped
    names = len(stream.task_names)
    for schedule in stream.schedule.distinct:
        last = schedule.last_task(steps)
        if isinstance(chain, TaskSwitch) and last >= len(chain.ids):
            raise InputError(
                f"task {last} is played within {steps:,} steps, but there are {len(chain.ids)} "
                f"environments, from 0 on: give the schedule tasks: {len(chain.ids)}"
            )
        if names != 1 and names <= last:  # one name is that of all tasks
            raise InputError(
                f"task {last} is played within {steps:,} steps, but task_names has {names} names, "
                f"from 0 on: give {last + 1} or more"
            )


def _check_options(name: str, builder: Builder, options: dict[str, object]) -> None:
    parameters = inspect.signature(builder).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return  # the game checks what is left
    known = [p for p in parameters if p != "context"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InputError(f"stream {name} has no option {unknown[0]!r}; it has {', '.join(known)}")
