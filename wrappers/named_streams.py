"""The named streams of MinAtar games, MiniGrid worlds and classic control."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from neoteny.core.errors import InputError
from neoteny.envs import minatar
from neoteny.wrappers.changes import Dynamics, RewardFlip
from neoteny.wrappers.compose import OnSwitch
from neoteny.wrappers.gradual_schedules import LinearDrift, Sinusoidal
from neoteny.wrappers.member_schedules import MemberSchedules
from neoteny.wrappers.observations import Axis, GoalPermutation, ObservationPermutation
from neoteny.wrappers.schedules import Cyclic
from neoteny.wrappers.streams import STREAMS, TASK_STEPS, StreamContext
from neoteny.wrappers.taskswitch import TaskSwitch
from neoteny.wrappers.vector import NonStationaryVector

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


def _require_games(games: Sequence[str], known: Sequence[str]) -> None:
    if not games or not set(games) <= set(known):
        raise InputError(f"games {list(games)}: give some of {', '.join(known)}")


@STREAMS.register("minatar-continual")
def minatar_continual(
    context: StreamContext,
    *,
    games: Sequence[str] = GAMES,
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
    _require_games(games, GAMES)
    period = context.period(15_000_000)
    schedule = MemberSchedules.random_order(period, len(games), context.seeds, cycles)
    minimal = [minatar.GAMES[game].game.minimal for game in games]
    tables = [[*keys, *[0] * (ACTIONS - len(keys))] for keys in minimal]  # 0 does nothing
    return context.chain(
        [f"neoteny/MinAtar-{game}-v0" for game in games],
        schedule,
        action_tables=tables if action_mode == "paper" else None,
        channel_orders=_paper_orders(context, schedule, games, cycles) if permute else None,
        task_names=games,
        task_options=[
            {"max_steps": PAPER_LIMITS[game] if max_steps == "paper" else max_steps}
            for game in games
        ],
        **context.complete({}, channels=CHANNELS, sticky=sticky, ramping=ramping),
    )


def _paper_orders(
    context: StreamContext, schedule: MemberSchedules, games: Sequence[str], cycles: int
) -> npt.NDArray[np.int64]:
    """(M, cycles * games, 10) the channel order of each member's every visit."""
    period = context.period(15_000_000)
    visits = range(cycles * len(games))
    tasks = [schedule.tasks(visit * period) for visit in visits]
    indices = [GAMES.index(game) for game in games]
    return np.array(
        [
            [paper_channel_order(s, indices[tasks[v][m]], v // len(games)) for v in visits]
            for m, s in enumerate(context.seeds)
        ]
    )


@STREAMS.register("minatar-five")
def minatar_five(
    context: StreamContext,
    *,
    games: Sequence[str] = FIVE,
    cycles: int = 20,
    max_steps: int | None = None,
    **options: object,
) -> TaskSwitch:
    """All five MinAtar games in random order, each as it is.

    Stresses keeping the ability to learn while inputs and actions keep their places: channels are
    padded to 10 and not shuffled, the six keys are the same in every game, so that what one game
    taught can help or hinder in the next. Every game comes once a cycle, in an order of each
    member's own. Further options go to the games.
    """
    _require_games(games, FIVE)
    period = context.period(TASK_STEPS)
    return context.chain(
        [f"neoteny/MinAtar-{game}-v0" for game in games],
        MemberSchedules.random_order(period, len(games), context.seeds, cycles),
        task_names=games,
        **context.complete(options, channels=CHANNELS, max_steps=max_steps),
    )


@STREAMS.register("minatar-permute")
def minatar_permute(
    context: StreamContext,
    *,
    game: str = "Breakout",
    tasks: int = 20,
    over: Axis = "channels",
    on_switch: OnSwitch = "reset",
    **options: object,
) -> NonStationaryVector:
    """One MinAtar game whose observation is shuffled anew at each switch.

    Stresses learning the same behaviour for inputs whose meaning has changed: the first layer must
    be learned again, the rest could stay. The first task is the plain game; after `tasks`
    shuffles they come again. Further options go to the game.
    """
    env = context.make(f"neoteny/MinAtar-{game}-v0", **options)
    change = ObservationPermutation(env.single_observation_space.shape, tasks, context.seeds, over)
    schedule = Cyclic(context.period(TASK_STEPS), tasks)
    names = [game] + [f"{game} {over} {task}" for task in range(1, tasks)]
    return NonStationaryVector(env, schedule, [change], on_switch, names)


@STREAMS.register("minatar-reward-flip")
def minatar_reward_flip(
    context: StreamContext,
    *,
    game: str = "Breakout",
    on_switch: OnSwitch = "reset",
    **options: object,
) -> NonStationaryVector:
    """One MinAtar game whose reward changes sign at each switch.

    Stresses unlearning: what was best becomes worst while the observations stay the same.
    Further options go to the game.
    """
    env = context.make(f"neoteny/MinAtar-{game}-v0", **options)
    schedule = Cyclic(context.period(TASK_STEPS), 2)
    names = [game, f"{game} negated"]
    return NonStationaryVector(env, schedule, [RewardFlip()], on_switch, names)


DOORS = ("Unlock", "DoorKey-5x5", "DoorKey-6x6", "MultiRoom-N2-S4", "RedBlueDoors-6x6")


@STREAMS.register("minigrid-doors")
def minigrid_doors(
    context: StreamContext,
    *,
    worlds: Sequence[str] = DOORS,
    encoding: Literal["image", "onehot"] = "onehot",
    **options: object,
) -> TaskSwitch:
    """Five MiniGrid worlds about doors, from opening one to keys, rooms and an order.

    Stresses building on what was learnt: observations and actions keep their meaning, each world
    needs skills of the ones before it and a new one, and the reward is sparse. After the last
    world the first comes again, which shows what was forgotten. Further options go to the worlds.
    """
    return context.chain(
        [f"neoteny/MiniGrid-{world}-v0" for world in worlds],
        Cyclic(context.period(TASK_STEPS), len(worlds)),
        task_names=worlds,
        **context.complete(options, encoding=encoding),
    )


@STREAMS.register("minigrid-goal-flip")
def minigrid_goal_flip(
    context: StreamContext,
    *,
    world: str = "GoToDoor-5x5",
    tasks: int = 2,
    on_switch: OnSwitch = "reset",
    **options: object,
) -> NonStationaryVector:
    """A MiniGrid world whose instruction means another goal after each switch.

    Stresses unlearning what words mean: "go to the red door" comes to mean the blue one, while
    the world, the actions and the rewards stay as they are. With two tasks the meanings change
    to and fro. Further options go to the world.
    """
    env = context.make(
        f"neoteny/MiniGrid-{world}-v0", **context.complete(options, encoding="onehot")
    )
    shape = env.single_observation_space.shape
    if shape[-1] < 26:
        raise InputError(f"world {world!r} has no goal in words; give GoToDoor, Fetch or PutNear")
    change = GoalPermutation(shape, tasks, context.seeds)
    schedule = Cyclic(context.period(TASK_STEPS), tasks)
    names = [world] + [f"{world} meaning {task}" for task in range(1, tasks)]
    return NonStationaryVector(env, schedule, [change], on_switch, names)


@STREAMS.register("cartpole-drift")
def cartpole_drift(
    context: StreamContext,
    *,
    parameter: str = "length",
    values: float | Sequence[float] = (0.5, 3.0),
    course: Literal["sinusoidal", "linear"] = "sinusoidal",
    on_switch: OnSwitch = "reset",
    **options: object,
) -> NonStationaryVector:
    """CartPole whose pole slowly grows to six times its length and shrinks again.

    Stresses tracking a world that never switches: there is no boundary to react to, and the policy
    is always a little out of date. Any parameter of CartPole can drift through any values, to and
    fro in `task_steps` or, if `course` is "linear", once and for all. Further options go to it.
    """
    env = context.make("neoteny/CartPole-v1", **options)
    change = Dynamics(parameter, values)  # type: ignore[arg-type]
    period, tasks = context.period(TASK_STEPS), len(change.values)
    schedule = Sinusoidal(period, tasks) if course == "sinusoidal" else LinearDrift(period, tasks)
    return NonStationaryVector(env, schedule, [change], on_switch, [f"CartPole {parameter} drifts"])


@STREAMS.register("cartpole-permute")
def cartpole_permute(
    context: StreamContext, *, tasks: int = 20, on_switch: OnSwitch = "reset", **options: object
) -> NonStationaryVector:
    """CartPole whose four observations change places at each switch.

    Stresses learning the same behaviour for inputs that have swapped their meaning, in a world so
    small that a lost ability to learn shows within minutes. Further options go to CartPole.
    """
    env = context.make("neoteny/CartPole-v1", **options)
    change = ObservationPermutation(env.single_observation_space.shape, tasks, context.seeds)
    schedule = Cyclic(context.period(TASK_STEPS), tasks)
    names = ["CartPole"] + [f"CartPole order {task}" for task in range(1, tasks)]
    return NonStationaryVector(env, schedule, [change], on_switch, names)
