"""Streams of MiniGrid worlds and of classic control."""

from collections.abc import Sequence
from typing import Any, Literal

from neoteny.core.errors import InputError
from neoteny.wrappers.changes import Dynamics
from neoteny.wrappers.drift import LinearDrift, Sinusoidal
from neoteny.wrappers.modes import OnSwitch
from neoteny.wrappers.nonstationary import NonStationaryVector
from neoteny.wrappers.observations import GoalPermutation, ObservationPermutation
from neoteny.wrappers.schedule import Cyclic
from neoteny.wrappers.stream_setup import TASK_STEPS, Setup
from neoteny.wrappers.taskswitch import TaskSwitch

DOORS = ("Unlock", "DoorKey-5x5", "DoorKey-6x6", "MultiRoom-N2-S4", "RedBlueDoors-6x6")


def minigrid_doors(
    setup: Setup,
    *,
    worlds: str | Sequence[str] = DOORS,
    encoding: Literal["image", "onehot"] = "onehot",
    **options: Any,
) -> TaskSwitch:
    """Five MiniGrid worlds about doors, from opening one to keys, rooms and an order.

    Stresses building on what was learnt: observations and actions keep their meaning, each world
    needs skills of the ones before it and a new one, and the reward is sparse. After the last
    world the first comes again, which shows what was forgotten. Further options go to the worlds.
    """
    worlds = (worlds,) if isinstance(worlds, str) else tuple(worlds)
    return TaskSwitch(
        [f"neoteny/MiniGrid-{world}-v0" for world in worlds],
        Cyclic(setup.period(TASK_STEPS), len(worlds)),
        setup.num_envs,
        setup.members,
        setup.device,
        setup.seeds,
        task_names=worlds,
        **setup.complete(options, encoding=encoding),
    )


def minigrid_goal_flip(
    setup: Setup,
    *,
    world: str = "GoToDoor-5x5",
    tasks: int = 2,
    on_switch: OnSwitch = "reset",
    **options: Any,
) -> NonStationaryVector:
    """A MiniGrid world whose instruction means another goal after each switch.

    Stresses unlearning what words mean: "go to the red door" comes to mean the blue one, while
    the world, the actions and the rewards stay as they are. With two tasks the meanings change
    to and fro. Further options go to the world.
    """
    env = setup.make(f"neoteny/MiniGrid-{world}-v0", **setup.complete(options, encoding="onehot"))
    shape = env.single_observation_space.shape
    if shape[-1] < 26:
        raise InputError(f"world {world!r} has no goal in words; give GoToDoor, Fetch or PutNear")
    change = GoalPermutation(shape, tasks, setup.seeds)
    schedule = Cyclic(setup.period(TASK_STEPS), tasks)
    names = [world] + [f"{world} meaning {task}" for task in range(1, tasks)]
    return NonStationaryVector(env, schedule, [change], on_switch, names)


def cartpole_drift(
    setup: Setup,
    *,
    parameter: str = "length",
    values: float | Sequence[float] = (0.5, 3.0),
    course: Literal["sinusoidal", "linear"] = "sinusoidal",
    on_switch: OnSwitch = "reset",
    **options: Any,
) -> NonStationaryVector:
    """CartPole whose pole slowly grows to six times its length and shrinks again.

    Stresses tracking a world that never switches: there is no boundary to react to, and the policy
    is always a little out of date. Any parameter of CartPole can drift through any values, to and
    fro in `task_steps` or, if `course` is "linear", once and for all. Further options go to it.
    """
    env = setup.make("neoteny/CartPole-v1", **options)
    change = Dynamics(parameter, values)  # type: ignore[arg-type]
    period, tasks = setup.period(TASK_STEPS), len(change.values)
    schedule = Sinusoidal(period, tasks) if course == "sinusoidal" else LinearDrift(period, tasks)
    return NonStationaryVector(env, schedule, [change], on_switch, [f"CartPole {parameter} drifts"])


def cartpole_permute(
    setup: Setup, *, tasks: int = 20, on_switch: OnSwitch = "reset", **options: Any
) -> NonStationaryVector:
    """CartPole whose four observations change places at each switch.

    Stresses learning the same behaviour for inputs that have swapped their meaning, in a world so
    small that a lost ability to learn shows within minutes. Further options go to CartPole.
    """
    env = setup.make("neoteny/CartPole-v1", **options)
    change = ObservationPermutation(env.single_observation_space.shape, tasks, setup.seeds)
    schedule = Cyclic(setup.period(TASK_STEPS), tasks)
    names = ["CartPole"] + [f"CartPole order {task}" for task in range(1, tasks)]
    return NonStationaryVector(env, schedule, [change], on_switch, names)
