"""The stream of a run: built from its configuration, with episode statistics around it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from gymnasium.spaces import Box
from torch import Tensor

from neoteny.agents.agent import AGENTS
from neoteny.core.errors import InputError
from neoteny.core.options import fit_all, keywords
from neoteny.core.ranks import ALONE, Ranks
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.run.sizes import require_room, require_room_to_record
from neoteny.wrappers.member_schedules import MemberSchedules
from neoteny.wrappers.statistics import EpisodeStatistics
from neoteny.wrappers.stream_files import StreamDefinition
from neoteny.wrappers.streams import StreamContext, build_stream
from neoteny.wrappers.supervised import SupervisedStream
from neoteny.wrappers.supervised_streams import (
    FILE_OPTIONS,
    OPTIONS,
    SupervisedDefinition,
    make_supervised,
    supervised,
)

__all__ = ["SeparateStreams", "make_envs", "make_run_stream"]


def make_run_stream(
    config: RunConfig, ranks: Ranks = ALONE
) -> EpisodeStatistics | SupervisedStream | SeparateStreams:
    """Build the stream that the agent trains in: of environments, or supervised.

    Raises:
        ValueError: If the name or an option is unknown, or the agent cannot take it.
    """
    require_room(config)
    stream = _make_run_stream(config, ranks)
    require_room_to_record(config, stream)
    return stream


def _make_run_stream(
    config: RunConfig, ranks: Ranks
) -> EpisodeStatistics | SupervisedStream | SeparateStreams:
    if AGENTS[config.agent].supervised:
        return _make_supervised(config)
    definition = config.stream_definition
    if isinstance(definition, SupervisedDefinition) or (
        not definition and config.env in supervised()
    ):
        raise InputError(f"{config.env} is a supervised stream: it needs --agent classifier")
    if config.evaluate_tasks and not config.eval_episodes and not AGENTS[config.agent].separate:
        raise InputError("--evaluate-tasks needs episodes to play: give --eval-episodes as well")
    if AGENTS[config.agent].separate:
        if config.eval_episodes or config.evaluate_tasks:
            name = "eval-episodes" if config.eval_episodes else "evaluate-tasks"
            raise InputError(f"--{name} is not there for agents of Stable-Baselines3")
        streams = [
            make_envs(replace(config, seeds=1, first_seed=seed)) for seed in config.seed_list
        ]
        space = streams[0].single_action_space
        if isinstance(space, Box) and not space.is_bounded():
            raise InputError(
                f"actions of {config.env} are {space}: Stable-Baselines3 takes bounded ones; use "
                "--agent ppo, or bound them in the environment"
            )
        return SeparateStreams(streams)
    return make_envs(config, ranks=ranks)


class SeparateStreams:
    """M streams of one member each, with the interface of one stream of M members.

    Args:
        streams: alike but for their seeds.
    """

    def __init__(self, streams: list[EpisodeStatistics]) -> None:
        self.streams = streams
        self.device = streams[0].device
        self.task_names = streams[0].task_names
        self.single_observation_space = streams[0].single_observation_space

    @property
    def schedule(self) -> MemberSchedules:
        """The schedule of each member."""
        return MemberSchedules([stream.schedule.members[0] for stream in self.streams])

    def tasks_at(self, step: int) -> list[int]:
        """(M,) task of each member for the transition that starts at `step`."""
        return self.schedule.tasks(step)

    def boundaries(self, total: int) -> list[int]:
        """Ascending steps b, 0 < b < total, at which any member's task is switched."""
        return self.schedule.boundaries(total)

    def close(self) -> None:
        """End the processes that the streams may have."""
        for stream in self.streams:
            stream.close()

    def collect(self) -> dict[str, Tensor]:
        """Statistics of each stream since the last call, (M,)."""
        found = [stream.collect() for stream in self.streams]
        return {name: torch.cat([one[name] for one in found]) for name in found[0]}

    def state_dict(self) -> dict[str, Any]:
        """The states of all streams."""
        states = [stream.state_dict() for stream in self.streams]
        return {"worlds": states}  # the name that stored runs have

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        for stream, saved in zip(self.streams, state["worlds"], strict=True):
            stream.load_state_dict(saved)


def make_envs(
    config: RunConfig,
    lanes: int | None = None,
    render_mode: str | None = None,
    ranks: Ranks = ALONE,
) -> EpisodeStatistics:
    """Build the stream or environment that `config` names or has in a file.

    Args:
        config: Environment, options, seeds and batch sizes.
        lanes: Parallel environments per member; unset, the configuration's.
        render_mode: None or "rgb_array", to draw frames.
        ranks: The processes that share the lanes.

    Raises:
        ValueError: If the name or an option is unknown.
    """
    definition = config.stream_definition
    assert not isinstance(definition, SupervisedDefinition)
    hyper: Any = config.hyper
    each = hyper.steps_per_iteration
    context = StreamContext(
        lanes or hyper.num_envs,
        torch.device(config.device),
        tuple(config.seed_list),
        config.task_steps,
        each,
        render_mode,
        math.ceil(config.steps / each) * each,
        ranks,
    )
    return EpisodeStatistics(build_stream(definition or config.env, context, config.options))


def _make_supervised(config: RunConfig) -> SupervisedStream:
    if config.eval_episodes:
        raise InputError("--eval-episodes are for environments: the classifier has none")
    definition = config.stream_definition
    if isinstance(definition, StreamDefinition):
        raise InputError(
            f"{config.stream} is a stream of environments: the classifier needs one with data:"
        )
    known, options = OPTIONS if definition is None else FILE_OPTIONS, config.options
    if unknown := sorted(set(options) - set(known)):
        raise InputError(
            f"supervised streams have no option {unknown[0]!r}; they have {', '.join(known)}"
        )
    make = partial(make_supervised, config.env) if definition is None else definition.build
    return make(
        config.seed_list,
        config.device,
        config.task_steps,
        config.hyper.steps_per_iteration,
        **fit_all(options, keywords(make_supervised)),
    )
