"""Streams that reproductions share, each a function from arms to a plan.

`digits` is the cheapest on which the effect shows, and seeds differ little there. `breakout` is the
smallest of games: its features are shuffled anew at every switch, and a new network learns much in
a task this short, as it does in no other game. `paper` is the paper's stream of four games.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neoteny.experiments.reproductions.reproduction import Comparison, Plan

__all__ = ["PULL", "WEAK", "breakout", "changing_labels", "digits", "games", "images", "paper"]

WEAK = "adamo:half_life=5tasks"
"""The pull that small streams can bear."""
PULL = "adamo:isometry=0.05"
"""The authors' pull in streams of games."""
IMAGE_PULL = "adamo:isometry=1e-3"
"""The paper's pull in supervised streams."""

Options = Mapping[str, Any]
DIGITS, IMAGES, BREAKOUT, GAMES, PAPER = 60_000, 9_000, 24_000, 24_000, 70_000
"""Steps a second of all members together, on one core of a Xeon with AVX-512."""


def digits(
    *arms: Options, seeds: int = 3, tasks: int = 8, rate: float = DIGITS, **settings: Any
) -> Plan:
    """Digits in tasks of 150 minibatches.

    Args:
        *arms: What differs between comparisons; `name` is the folder's.
        seeds: Members.
        tasks: Tasks.
        rate: Steps a second of all members on one core, of deeper networks less.
        **settings: What the analysis needs to know.
    """
    shared = {
        "preset": "supervised",
        "learning_rate": 3e-3,
        "task_steps": 19_200,
        "steps": tasks * 19_200,
        "seeds": seeds,
        "updates_per_iteration": 10,  # its first row says what an untrained network can do
        "diagnose_every": 15,  # iterations, a task
        "threads": 1,
    }
    return _plan(shared, arms, rate, settings)


def changing_labels(
    pull: str, turnovers: Mapping[str, int], shares: tuple[float, ...], *, seeds: int, samples: int
) -> Plan:
    """Digits whose random labels are all replaced in the same time, at once or share by share.

    Args:
        pull: AdamO, with a half-life in samples so that it does not depend on the tasks' length.
        turnovers: Names of rates to the samples in which as many labels are replaced as there are.
        shares: Of the labels, that a task replaces; 1 first.
        seeds: Members.
        samples: Of a member, in all.
    """
    networks: dict[str, Options] = {
        "relu": {"interventions": ("none", "fresh")},
        "isometric": {
            "activation": "groupsort",
            "bias": False,
            "interventions": (pull, f"fresh+{pull}"),
        },
    }
    arms = [
        {
            **network,
            "name": f"{rate}-{share:g}-{name}",
            "env_option": {"share": share},
            "task_steps": round(share * turnover),
            "steps": samples,
            "updates_per_iteration": 5,  # the shortest tasks are of one iteration
            "diagnose_every": samples // 640,  # iterations, once
        }
        for rate, turnover in turnovers.items()
        for share in shares
        for name, network in networks.items()
    ]
    return digits(*arms, seeds=seeds, turnovers=turnovers, shares=shares)


def images(*arms: Options, seeds: int, tasks: int, samples: int, **settings: Any) -> Plan:
    """The paper's network and learning rate on images.

    Args:
        *arms: As of `digits`.
        seeds: Members.
        tasks: Tasks.
        samples: Samples a task, in whole iterations.
        **settings: What the analysis needs to know.
    """
    sizes = {"seeds": seeds, "task_steps": samples, "steps": tasks * samples}
    return _plan({"preset": "paper-supervised", **sizes}, arms, IMAGES, settings)


def breakout(*arms: Options, seeds: int = 24, tasks: int = 12, **settings: Any) -> Plan:
    """Breakout in tasks of 30 rollouts; arguments as of `digits`."""
    shared = {"preset": "demo", "seeds": seeds, "task_steps": 30_720, "steps": tasks * 30_720}
    return _plan(shared, arms, BREAKOUT, settings)


def games(*arms: Options, seeds: int, cycles: int, task_steps: int, **settings: Any) -> Plan:
    """The paper's stream and network in small.

    Args:
        *arms: As of `digits`.
        seeds: Members.
        cycles: Times that every game comes.
        task_steps: Steps of a game, in whole iterations.
        **settings: What the analysis needs to know.
    """
    shared = {
        "preset": "cpu",
        "env": "minatar-continual",
        "num_envs": 64,
        "num_steps": 32,
        "seeds": seeds,
        "task_steps": task_steps,
        "steps": 4 * cycles * task_steps,
        "diagnose_every": 0,
        "threads": 1,
    }
    return _plan(shared, arms, GAMES, settings)


def paper(*arms: Options, rate: float = PAPER, **settings: Any) -> Plan:
    """The paper's stream: 20 cycles through four games, eight seeds; arguments as of `digits`."""
    shared = {
        "preset": "paper",
        "env": "minatar-continual",
        "hidden": (64, 64, 64, 64),
        "seeds": 8,
        "steps": 80 * 15_204_352,  # whole iterations
    }
    return _plan(shared, arms, rate, settings, first_seed=26)


def _plan(
    shared: Options,
    arms: tuple[Options, ...],
    rate: float,
    settings: Options,
    first_seed: int = 0,
) -> Plan:
    comparisons = {}
    for each in arms:
        options = {**shared, **each}
        name = str(options.pop("name", "runs"))
        comparisons[name] = Comparison(options, rate)
    return Plan(comparisons, first_seed, settings=settings)
