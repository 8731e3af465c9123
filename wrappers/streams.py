"""Named streams of tasks: what `--env` accepts besides the id of a single environment."""

import inspect
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import torch

from neoteny import envs
from neoteny.core.errors import InputError
from neoteny.envs.base import member_seeds
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
    counts = {"task_steps": task_steps, "steps_per_iteration": steps_per_iteration}
    for label, value in counts.items():
        if value is not None and value <= 0:
            raise InputError(f"{label} must be positive, got {value}; give at least 1")
    seeds = member_seeds(seed, members)
    setup = Setup(
        num_envs, torch.device(device), seeds, task_steps, steps_per_iteration, render_mode
    )
    stream = _build(name, setup, options)
    return CheckActions(stream) if debug else stream


def _build(name: str | StreamDefinition, setup: Setup, options: dict[str, Any]) -> Stream:
    if isinstance(name, StreamDefinition):
        return name.build(setup, options)
    if name in STREAMS:
        builder = STREAMS[name]
        _check_options(name, builder, options)
        return builder(setup, **options)
    try:
        environment = envs.resolve(name)
    except ValueError as error:
        near = get_close_matches(name, [*STREAMS, *envs.registered()], n=1, cutoff=0.0)[0]
        raise InputError(
            f"unknown stream or environment {name!r}; did you mean {near!r}?"
        ) from error
    return _single(setup, environment, options)


def _check_options(name: str, builder: Callable[..., Stream], options: dict[str, Any]) -> None:
    parameters = inspect.signature(builder).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return  # the game checks what is left
    known = [p for p in parameters if p != "setup"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InputError(f"stream {name} has no option {unknown[0]!r}; it has {', '.join(known)}")
