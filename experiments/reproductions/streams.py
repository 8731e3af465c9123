"""Streams that reproductions share, each a function from arms to a plan.

`digits` is the cheapest on which the effect shows, and seeds differ little there. `breakout` is the
smallest of games: its features are shuffled anew at every switch, and a new network learns much in
a task this short, as it does in no other game. `paper` is the paper's stream of four games.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neoteny.experiments.reproductions.reproduction import Comparison, Plan

__all__ = [
    "ISOMETRIC",
    "PULL",
    "WEAK",
    "breakout",
    "changing_labels",
    "digits",
    "games",
    "isometric",
    "paper",
    "supervised",
    "two_games",
]

WEAK = "adamo:half_life=5tasks"
"""The pull that small streams can bear."""
PULL = "adamo:isometry=0.05"
"""The authors' pull in streams of games."""
IMAGE_PULL = "adamo:isometry=1e-3"
"""The paper's pull in supervised streams."""

ISOMETRIC: Mapping[str, Any] = {"activation": "groupsort", "bias": False}
"""The network of the paper's arms in streams of games."""
RELU_ARMS: Mapping[str, Any] = {
    "interventions": (
        *("none", "l2_init", "layer_norm", "redo", "shrink_perturb"),
        *("fresh", "fresh+layer_norm"),
    ),
}
"""Baselines beside the paper's arm in supervised streams, with ReLU and biases."""
Options = Mapping[str, Any]
DIGITS, IMAGES, BREAKOUT, GAMES, PAPER = 60_000, 9_000, 24_000, 24_000, 70_000
"""Steps a second of all members together, on one core of a Xeon with AVX-512."""


def isometric(*interventions: str, **more: Any) -> dict[str, Any]:
    """Arms with the network of `ISOMETRIC`, in a comparison of their own."""
    return {"name": "isometric", **ISOMETRIC, "interventions": interventions, **more}


def digits(
    *arms: Options, seeds: int = 3, tasks: int = 8, rate: float = DIGITS, **settings: Any
) -> Plan:
    """Digits in tasks of 150 minibatches.

    Args:
        *arms: What differs between comparisons; `name` is the folder's, `slower` divides the rate.
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
        "isometric": isometric(pull, f"fresh+{pull}"),
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


def supervised(
    preview: str,
    laptop: Mapping[str, Any],
    full: Mapping[str, Any],
    sizes: Mapping[str, tuple[int, int]],
) -> dict[str, Plan]:
    """The arms of supervised claims; on images the paper's network, and a convolutional one.

    Args:
        preview: Stream of digits.
        laptop: Stream of images, and its options.
        full: The paper's.
        sizes: Of `laptop` and `full`, tasks and samples a task, in whole iterations.
    """

    def arms(pull: str, stream: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{**RELU_ARMS, **stream}, isometric(pull, "none", "fresh", **stream)]

    def all_arms(pull: str, stream: Mapping[str, Any]) -> list[dict[str, Any]]:
        conv = {"torso": "conv", "slower": 3}
        return [
            *arms(pull, stream),
            {**stream, **conv, "name": "conv", "interventions": ("none", pull, "fresh")},
            {**isometric(pull, "fresh", **stream, **conv), "name": "conv-isometric"},
        ]

    plans = {"preview": digits(*arms(WEAK, {"env": preview}), ours=WEAK)}
    for name, stream, pull, seeds in (("laptop", laptop, WEAK, 3), ("full", full, IMAGE_PULL, 8)):
        tasks, samples = sizes[name]
        shared: dict[str, Any] = {"seeds": seeds, "preset": "paper-supervised"}
        shared |= {"task_steps": samples, "steps": tasks * samples}
        plans[name] = _plan(shared, all_arms(pull, stream), IMAGES, {"ours": pull})
    return plans


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


def two_games(*arms: Options, **settings: Any) -> Plan:
    """Two games that a small network learns within a task as short as those of `breakout`.

    The paper's other two games take more steps before a new network gains anything. Arguments are
    as of `games`.
    """
    shared = {
        "preset": "demo",
        "env": "minatar-continual",
        "env_option": {"games": "Breakout,SpaceInvaders"},
        "seeds": 4,
        "task_steps": 30_720,
        "steps": 2 * 6 * 30_720,
        "diagnose_every": 0,
    }
    return _plan(shared, arms, BREAKOUT, settings)


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
    arms: Sequence[Options],
    rate: float,
    settings: Options,
    first_seed: int = 0,
) -> Plan:
    comparisons = {}
    for each in arms:
        options = {**shared, **each}
        name = str(options.pop("name", "runs"))
        comparisons[name] = Comparison(options, rate / float(options.pop("slower", 1)))
    return Plan(comparisons, first_seed, settings=settings)
