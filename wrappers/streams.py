"""Named streams of tasks: what `--env` accepts besides the id of a single environment."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from neoteny import envs
from neoteny.core.errors import InputError
from neoteny.core.names import closest
from neoteny.core.options import fit, fit_all, keywords
from neoteny.envs.arguments import member_seeds
from neoteny.envs.single import host_ids
from neoteny.wrappers.checked import CheckActions
from neoteny.wrappers.control_streams import (
    cartpole_drift,
    cartpole_permute,
    minigrid_doors,
    minigrid_goal_flip,
)
from neoteny.wrappers.minatar_streams import (
    minatar_continual,
    minatar_five,
    minatar_permute,
    minatar_reward_flip,
)
from neoteny.wrappers.nonstationary import NonStationaryVector
from neoteny.wrappers.schedule import Periodic
from neoteny.wrappers.stream_files import StreamDefinition
from neoteny.wrappers.stream_setup import TASK_STEPS, Setup, Stream
from neoteny.wrappers.taskswitch import TaskSwitch

STREAMS: dict[str, Callable[..., Stream]] = {
    "minatar-continual": minatar_continual,
    "minatar-five": minatar_five,
    "minatar-permute": minatar_permute,
    "minatar-reward-flip": minatar_reward_flip,
    "minigrid-doors": minigrid_doors,
    "minigrid-goal-flip": minigrid_goal_flip,
    "cartpole-drift": cartpole_drift,
    "cartpole-permute": cartpole_permute,
}


def _single(setup: Setup, name: str, options: dict[str, Any]) -> NonStationaryVector:
    """One environment for the whole run: a stream of one task."""
    env = setup.make(name, **options)
    return NonStationaryVector(env, Periodic(setup.period(TASK_STEPS), tasks=1), task_names=[name])


def make_stream(
    name: str | StreamDefinition,
    num_envs: int,
    members: int = 1,
    device: torch.device | str = "cpu",
    seed: int | Sequence[int] = 0,
    task_steps: int | None = None,
    steps_per_iteration: int = 1,
    debug: bool = False,
    render_mode: str | None = None,
    **options: Any,
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
    setup = Setup(
        num_envs, torch.device(device), seeds, task_steps, steps_per_iteration, render_mode
    )
    stream = build_stream(name, setup, options)
    return CheckActions(stream) if debug else stream


def build_stream(name: str | StreamDefinition, setup: Setup, options: dict[str, Any]) -> Stream:
    """Build a stream as `make_stream` does, with options that may have any names.

    Raises:
        InputError: the name or an option is unknown, or a value does not fit.
    """
    setup.complete(options)  # refuses names that the builders take
    stream = _build(name, setup, options)
    if setup.steps is not None:
        _check_reach(stream, setup.steps)
    return stream


def _build(name: str | StreamDefinition, setup: Setup, options: dict[str, Any]) -> Stream:
    if isinstance(name, StreamDefinition):
        return name.build(setup, options)
    if name in STREAMS:
        builder = STREAMS[name]
        _check_options(name, builder, options)
        return builder(setup, **fit_all(options, keywords(builder)))
    return _single(setup, resolve(name), options)


def resolve(name: str) -> str:
    """The whole id of an environment; see `neoteny.envs.resolve`.

    Raises:
        InputError: there is neither a stream nor an environment of that name.
    """
    try:
        return envs.resolve(name)
    except InputError as error:
        if near := closest(name, [*STREAMS, *envs.registered(), *host_ids()]):
            hint = f"did you mean {near[0]!r}?"
        else:
            hint = "see `list streams` and `list envs`, or name its module as in module:id"
        raise InputError(f"unknown stream or environment {name!r}: {hint}") from error


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
        if 1 < names <= last:
            raise InputError(
                f"task {last} is played within {steps:,} steps, but task_names has {names} names, "
                f"from 0 on: give {last + 1} or more"
            )


def _check_options(name: str, builder: Callable[..., Stream], options: dict[str, Any]) -> None:
    parameters = inspect.signature(builder).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return  # the game checks what is left
    known = [p for p in parameters if p != "setup"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InputError(f"stream {name} has no option {unknown[0]!r}; it has {', '.join(known)}")
