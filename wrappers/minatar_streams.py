"""Streams of MinAtar games."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from neoteny.core.errors import InputError
from neoteny.envs import minatar
from neoteny.wrappers.changes import RewardFlip
from neoteny.wrappers.member_schedules import MemberSchedules
from neoteny.wrappers.modes import OnSwitch
from neoteny.wrappers.nonstationary import NonStationaryVector
from neoteny.wrappers.observations import Axis, ObservationPermutation
from neoteny.wrappers.schedule import Cyclic
from neoteny.wrappers.stream_setup import TASK_STEPS, Setup
from neoteny.wrappers.taskswitch import TaskSwitch

# The order is the paper's: game k enters the seeds of the channel permutations.
GAMES = ("Breakout", "Asterix", "SpaceInvaders", "Freeway")
CHANNELS = 10
ACTIONS = 6
# What gymnax limits an episode to, and so the paper: Freeway's is MinAtar's own clock, less a step.
PAPER_LIMITS = {"Breakout": 1_000, "Asterix": 1_000, "SpaceInvaders": 1_000, "Freeway": 2_500}
FIVE = (*GAMES, "Seaquest")


def paper_channel_order(seed: int, game: int, cycle: int) -> npt.NDArray[np.int64]:
    """Channels of one game during one cycle: the agent sees `padded[..., order]`.

    Args:
        seed: the member's.
        game: index into `GAMES`.
        cycle: 0 for the first.

    Returns:
        (10,) a permutation.

    Source: continual MinAtar of "Preserving Plasticity in Continual Learning via Dynamical
    Isometry", from the authors' code.
    """
    return np.random.default_rng(seed * 10_000 + game * 100 + cycle).permutation(CHANNELS)


def minatar_continual(
    setup: Setup,
    *,
    games: str | Sequence[str] = GAMES,
    cycles: int = 20,
    permute: bool = True,
    action_mode: Literal["paper", "native"] = "paper",
    max_steps: int | Literal["paper"] | None = "paper",
    sticky: float = 0.0,
    ramping: bool = True,
) -> TaskSwitch:
    """Four MinAtar games in random order, their channels shuffled anew in every cycle.

    Stresses learning again and again from the weights that another game left behind: nothing in
    the input or the actions keeps its meaning. It is the protocol of "Preserving Plasticity in
    Continual Learning via Dynamical Isometry": 15,000,000 steps a game rounded up to whole
    iterations, `cycles` times every game, so that a whole run takes
    cycles * len(games) * period steps; afterwards orders and shuffles come again. Observations are
    padded to 10 channels. Under "paper" actions, index i is the i-th key of the game's minimal
    set and an index past it does nothing; "native" gives the six keys of MinAtar's -v0 ids.

    The authors ran gymnax's games. Ours follow MinAtar: in Space Invaders the first board has 24
    aliens (gymnax 28) and a bullet is tested against the cannon's new position (gymnax the old);
    in Asterix a full board spawns nothing (gymnax may overwrite an entity). An episode is limited
    to 1,000 steps as there, in Freeway to 2,500; `max_steps` sets one limit for all games, or
    none. A limit truncates here, with a bootstrap; gymnax merges it into termination.
    """
    games = (games,) if isinstance(games, str) else tuple(games)
    unknown = [game for game in games if game not in GAMES]
    if unknown or not games:
        raise InputError(f"games {list(games)}: give some of {', '.join(GAMES)}")
    period = setup.period(15_000_000)
    schedule = MemberSchedules.random_order(period, len(games), setup.seeds, cycles)
    minimal = [minatar.GAMES[game].game.minimal for game in games]
    tables = [[*keys, *[0] * (ACTIONS - len(keys))] for keys in minimal]  # 0 does nothing
    return TaskSwitch(
        [f"neoteny/MinAtar-{game}-v0" for game in games],
        schedule,
        setup.num_envs,
        setup.members,
        setup.device,
        setup.seeds,
        action_tables=tables if action_mode == "paper" else None,
        channel_orders=_paper_orders(setup, schedule, games, cycles) if permute else None,
        task_names=games,
        task_options=[
            {"max_steps": PAPER_LIMITS[game] if max_steps == "paper" else max_steps}
            for game in games
        ],
        **setup.complete({}, channels=CHANNELS, sticky=sticky, ramping=ramping),
    )


def _paper_orders(
    setup: Setup, schedule: MemberSchedules, games: Sequence[str], cycles: int
) -> npt.NDArray[np.int64]:
    """(M, cycles * games, 10) the channel order of each member's every visit."""
    period = setup.period(15_000_000)
    visits = range(cycles * len(games))
    tasks = [schedule.tasks(visit * period) for visit in visits]
    indices = [GAMES.index(game) for game in games]
    return np.array(
        [
            [paper_channel_order(s, indices[tasks[v][m]], v // len(games)) for v in visits]
            for m, s in enumerate(setup.seeds)
        ]
    )


def minatar_permute(
    setup: Setup,
    *,
    game: str = "Breakout",
    tasks: int = 20,
    over: Axis = "channels",
    on_switch: OnSwitch = "reset",
    **options: Any,
) -> NonStationaryVector:
    """One MinAtar game whose observation is shuffled anew at each switch.

    Stresses learning the same behaviour for inputs whose meaning has changed: the first layer must
    be learned again, the rest could stay. The first task is the plain game; after `tasks`
    shuffles they come again. Further options go to the game.
    """
    env = setup.make(f"neoteny/MinAtar-{game}-v0", **options)
    change = ObservationPermutation(env.single_observation_space.shape, tasks, setup.seeds, over)
    schedule = Cyclic(setup.period(TASK_STEPS), tasks)
    names = [game] + [f"{game} {over} {task}" for task in range(1, tasks)]
    return NonStationaryVector(env, schedule, [change], on_switch, names)


def minatar_reward_flip(
    setup: Setup,
    *,
    game: str = "Breakout",
    on_switch: OnSwitch = "reset",
    **options: Any,
) -> NonStationaryVector:
    """One MinAtar game whose reward changes sign at each switch.

    Stresses unlearning: what was best becomes worst while the observations stay the same.
    Further options go to the game.
    """
    env = setup.make(f"neoteny/MinAtar-{game}-v0", **options)
    schedule = Cyclic(setup.period(TASK_STEPS), 2)
    names = [game, f"{game} negated"]
    return NonStationaryVector(env, schedule, [RewardFlip()], on_switch, names)


def minatar_five(
    setup: Setup,
    *,
    games: str | Sequence[str] = FIVE,
    cycles: int = 20,
    max_steps: int | None = None,
    **options: Any,
) -> TaskSwitch:
    """All five MinAtar games in random order, each as it is.

    Stresses keeping the ability to learn while inputs and actions keep their places: channels are
    padded to 10 and not shuffled, the six keys are the same in every game, so that what one game
    taught can help or hinder in the next. Every game comes once a cycle, in an order of each
    member's own. Further options go to the games.
    """
    games = (games,) if isinstance(games, str) else tuple(games)
    unknown = [game for game in games if game not in FIVE]
    if unknown or not games:
        raise InputError(f"games {list(games)}: give some of {', '.join(FIVE)}")
    period = setup.period(TASK_STEPS)
    return TaskSwitch(
        [f"neoteny/MinAtar-{game}-v0" for game in games],
        MemberSchedules.random_order(period, len(games), setup.seeds, cycles),
        setup.num_envs,
        setup.members,
        setup.device,
        setup.seeds,
        task_names=games,
        **setup.complete(options, channels=CHANNELS, max_steps=max_steps),
    )
