"""The world a configuration asks for: a stream with episode statistics around it."""

from __future__ import annotations

from neoteny.experiments.config import RunConfig
from neoteny.wrappers.statistics import EpisodeStatistics
from neoteny.wrappers.streams import make_stream

__all__ = ["make_world"]


def make_world(config: RunConfig, lanes: int | None = None) -> EpisodeStatistics:
    """Build the stream or environment that `config` names or has in a file.

    Args:
        config: Environment, options, seeds and batch sizes.
        lanes: Parallel environments per member; unset, the configuration's.

    Raises:
        ValueError: If the name or an option is unknown.
    """
    return EpisodeStatistics(
        make_stream(
            config.stream_definition or config.env,
            lanes or config.ppo.num_envs,
            members=config.seeds,
            device=config.device,
            seed=config.seed_list,
            task_steps=config.task_steps,
            steps_per_iteration=config.ppo.steps_per_iteration,
            **config.options,
        )
    )
