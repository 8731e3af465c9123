"""Every wrapper and change on every space and dtype that Gymnasium allows, or refused at once."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from neoteny import envs
from neoteny.core.errors import InputError
from neoteny.wrappers import (
    ActionPermutation,
    CheckActions,
    Cyclic,
    EpisodeStatistics,
    NonStationary,
    NonStationaryVector,
    ObservationDropout,
    ObservationNoise,
    ObservationOffset,
    ObservationPermutation,
    RewardFlip,
    RewardScale,
    StickyActions,
)
from neoteny.wrappers.vector_base import MemberWrapper

N = 3
TYPES = [
    *("float16", "float32", "float64", "bool"),
    *("uint8", "uint16", "uint32", "int8", "int16", "int32", "int64"),
]
SEEN = {
    **{kind: spaces.Box(0, np.array([1, 4, 9]), (N,), kind) for kind in TYPES if kind != "bool"},
    "bool": spaces.Box(0, 1, (N,), np.bool_),
    "unbounded": spaces.Box(-np.inf, np.inf, (N,), np.float32),
    "above zero": spaces.Box(2, np.array([3, 5, 9]), (N,), np.int64),
    "binary": spaces.MultiBinary(N),
    "multi": spaces.MultiDiscrete([2, 3, 4]),
    "multi from 5": spaces.MultiDiscrete([2, 3, 4], start=[5, 5, 5]),
}
#: Spaces whose observations are no array of one axis.
OTHER = {
    "number": spaces.Box(0, 1, (), np.float32),
    "discrete": spaces.Discrete(4),
    "discrete from -2": spaces.Discrete(4, start=-2),
    "text": spaces.Text(4),
    "dict": spaces.Dict(a=spaces.Discrete(2)),
    "tuple": spaces.Tuple([spaces.Discrete(2)]),
}
PLAYED = {
    "0": spaces.Discrete(4),
    "5": spaces.Discrete(4, start=5),
    "-2": spaces.Discrete(4, start=-2),
}
REWARDS = [
    *(2, 2.5, True),
    *(np.dtype(kind).type(1) for kind in TYPES),
    *(np.array([1], kind) for kind in TYPES),
    *(np.array(1, kind) for kind in ("float32", "uint8")),
]


class Any(gymnasium.Env):
    """Shows samples of its space, pays what it is told to, keeps the actions."""

    def __init__(self, seen=SEEN["float32"], played=PLAYED["0"], reward=1.0):
        self.observation_space, self.action_space = seen, played
        self.paid, self.actions = reward, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed if seed is not None else int(self.np_random.integers(99)))
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        self.actions.append(action)
        return self.observation_space.sample(), self.paid, self.steps % 6 == 0, False, {}


OBSERVERS = [
    ObservationPermutation((N,), 4, seed=1),
    ObservationPermutation((N,), 4, seed=1, over="channels"),
    ObservationDropout((N,), 3, 0.6, seed=2, keep_first=False),
    ObservationOffset((N,), 3, seed=1),
    ObservationNoise((N,), (0.5,)),
]


def play(env, actions):
    obs = [env.reset(seed=3)[0]]
    rewards = []
    for action in actions:
        after, reward, terminated, truncated, _ = env.step(action)
        obs.append(after)
        rewards.append(reward)
        if np.any(terminated | truncated) and not hasattr(env, "num_envs"):
            obs.append(env.reset()[0])
    return obs, rewards


@pytest.mark.parametrize("change", OBSERVERS, ids=lambda change: type(change).__name__)
@pytest.mark.parametrize("seen", SEEN)
def test_changed_observations_lie_in_the_space_that_is_told(seen, change):
    space = SEEN[seen]
    needs_floats = isinstance(change, ObservationOffset | ObservationNoise)
    if needs_floats and space.dtype.kind != "f":
        with pytest.raises(InputError, match="needs floating point observations"):
            NonStationary(Any(space), Cyclic(4, 3), [change])
        return
    env = NonStationary(Any(space), Cyclic(4, 3), [change])
    vector = SyncVectorEnv([lambda: Any(space)] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    lanes = NonStationaryVector(vector, Cyclic(4, 3), [change])
    cases = (env, [0] * 30), (lanes, [np.zeros(2, int)] * 15)
    for made, actions in cases:
        told = made.observation_space
        for obs in play(made, actions)[0]:
            assert obs.dtype == space.dtype
            assert told.contains(obs), (told, obs)


@pytest.mark.parametrize("seen", OTHER)
def test_observations_that_are_no_array_are_refused_at_once(seen):
    for change in OBSERVERS:
        with pytest.raises(InputError, match=r"for observations of shape|one array"):
            NonStationary(Any(OTHER[seen]), Cyclic(4, 3), [change])
    NonStationary(Any(OTHER[seen]), Cyclic(4, 3), [RewardFlip()]).reset()


def test_bounds_follow_what_trades_places():
    box = spaces.Box(np.array([0, -1, 2], np.float32), np.array([1, 4, 9], np.float32))
    common = ObservationPermutation((N,), 4).observation_space(box)
    assert common == spaces.Box(-1, 9, (N,), np.float32)
    shown = ObservationDropout((N,), 4).observation_space(box)
    assert shown.low.tolist() == [0, -1, 0]
    assert shown.high.tolist() == [1, 4, 9]
    image = spaces.Box(0, 255, (7, 7, 3), np.uint8)
    assert ObservationPermutation((7, 7, 3), 4, over="pixels").observation_space(image) is image


def test_a_hidden_infinity_reads_0():
    change = ObservationDropout((N,), 1, 1.0, keep_first=False)
    obs = np.array([np.inf, np.nan, -1], np.float32)
    assert change.observation(obs, 0).tolist() == [0, 0, 0]
    assert change.observation(torch.from_numpy(obs), 0).tolist() == [0, 0, 0]


@pytest.mark.parametrize("start", PLAYED)
def test_changes_of_actions_count_from_the_first_action(start):
    space = PLAYED[start]
    first = int(space.start)
    changes = [ActionPermutation(4, 3, seed=1), StickyActions((0.0, 0.4, 0.9), seed=2)]
    plain = NonStationary(Any(), Cyclic(8, 3), changes)
    moved = NonStationary(Any(played=space), Cyclic(8, 3), changes)
    actions = np.random.default_rng(0).integers(4, size=40)
    play(plain, actions)
    play(moved, actions + first)
    played = np.array(plain.unwrapped.actions)
    assert (played != actions).any()
    np.testing.assert_array_equal(np.array(moved.unwrapped.actions) - first, played)

    def lanes(space):
        made = [lambda: Any(played=space)] * 2
        vector = SyncVectorEnv(made, autoreset_mode=AutoresetMode.SAME_STEP)
        play(NonStationaryVector(vector, Cyclic(8, 3), changes),
             actions.reshape(-1, 2) + int(space.start))  # fmt: skip
        return np.array([env.actions for env in vector.envs]) - int(space.start)

    np.testing.assert_array_equal(lanes(space), lanes(PLAYED["0"]))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "int64"])
def test_actions_of_every_whole_type_are_renamed(kind):
    change = ActionPermutation(6, 60, seed=3)
    expected = change.action(np.arange(6), 57)  # 57 * 6 is more than eight bits hold
    np.testing.assert_array_equal(change.action(np.arange(6).astype(kind), 57), expected)
    found = change.action(torch.arange(6, dtype=getattr(torch, kind)), 57)
    np.testing.assert_array_equal(found, expected)
    assert int(change.action(np.dtype(kind).type(4), 57)) == expected[4]


UNNAMED = [
    *(spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2), spaces.Discrete(3)),
    spaces.Tuple([spaces.Discrete(2)]),
]


@pytest.mark.parametrize("played", UNNAMED, ids=repr)
def test_actions_that_cannot_be_renamed_are_refused_at_once(played):
    with pytest.raises(InputError, match="is for 4 discrete actions"):
        NonStationary(Any(played=played), Cyclic(8, 3), [ActionPermutation(4, 3)])


@pytest.mark.parametrize("reward", REWARDS, ids=repr)
def test_every_reward_can_be_negated_and_scaled(reward):
    for change, factors in ((RewardFlip(), (1, -1)), (RewardScale((1.0, -2.5)), (1, -2.5))):
        env = NonStationary(Any(reward=reward), Cyclic(4, 2), [change])
        rewards = play(env, [0] * 8)[1]
        expected = [float(np.ravel(reward)[0]) * factors[step // 4] for step in range(8)]
        assert [float(np.ravel(one)[0]) for one in rewards] == expected
        found = change.reward(np.full((2, 3), np.ravel(reward)[0]), np.array([[0], [1]]))
        np.testing.assert_array_equal(found, np.outer(factors, [expected[0]] * 3))


def test_extreme_rewards_are_negated():
    flip = RewardFlip()
    assert flip.reward(np.int8(-128), 1) == 128
    assert flip.reward(np.uint64(2**63), 1) == -(2.0**63)
    for infinite in (np.inf, np.float32(np.inf), np.float16(60_000)):
        assert flip.reward(infinite, 1) == -infinite
    found = flip.reward(torch.tensor([torch.inf, 3e38]), torch.tensor([1, 1]))
    assert found.tolist() == torch.tensor([-torch.inf, -3e38]).tolist()
    assert flip.reward(torch.tensor([True, False]), 1).tolist() == [-1, 0]


@pytest.mark.parametrize("mask", [[True, False, True], (1, 0, 1), np.array([True, False, True]),
                                  torch.tensor([True, False, True])], ids=type)  # fmt: skip
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_reset_masks_of_every_kind(library, mask):
    def base():
        if library == "torch":
            return envs.make("CartPole", 3)
        made = [lambda: gymnasium.make("CartPole-v1")] * 3
        return SyncVectorEnv(made, autoreset_mode=AutoresetMode.SAME_STEP)

    changes = [StickyActions((0.5,))]
    made = [
        NonStationaryVector(base(), Cyclic(30, 2), changes),
        NonStationaryVector(base(), Cyclic(30, 2), [RewardFlip()], "latch"),
        CheckActions(NonStationaryVector(base(), Cyclic(30, 2), changes)),
    ]
    if library == "torch":
        made += [EpisodeStatistics(base()), EpisodeStatistics(made[0])]
    for env in made:
        env.reset(seed=1)
        before = np.asarray(env.step(np.ones(3, int))[0]).copy()
        after = np.asarray(env.reset(options={"reset_mask": mask})[0])
        assert (after != before).any(1).tolist() == [True, False, True]
        with pytest.raises(InputError, match=r"reset_mask has shape \(2,\), expected \(3,\)"):
            env.reset(options={"reset_mask": [True, False]})


def test_rewards_of_another_shape_are_not_summed():
    class Column(MemberWrapper):
        def step(self, actions):
            obs, reward, *rest = self.env.step(actions)
            return obs, reward[:, None], *rest

    env = EpisodeStatistics(Column(envs.make("CartPole", 2)))
    env.reset()
    with pytest.raises(InputError, match=r"rewards have shape \(2, 1\), expected \(2,\)"):
        env.step(torch.zeros(2, dtype=torch.int64))


def test_an_environment_of_tensors_that_hides_its_members_is_refused():
    class Plain(gymnasium.vector.VectorWrapper):
        device, members = torch.device("cpu"), 1

    with pytest.raises(InputError, match="lacks switch_together, final_observations, render_lane"):
        EpisodeStatistics(Plain(envs.make("CartPole", 2)))


@pytest.mark.parametrize(("played", "bad", "good"), [
    (PLAYED["5"], [4], [8]), (PLAYED["-2"], [2], [-2]), (PLAYED["0"], [-1], [3]),
    (spaces.MultiDiscrete([2, 3]), [[1, 3]], [[1, 2]]),
    (spaces.MultiDiscrete([2, 3], start=[1, 1]), [[0, 1]], [[2, 3]]),
    (spaces.MultiBinary(2), [[0, 2]], [[1, 1]]),
    (spaces.Box(-1, 1, (2,)), [[0, np.nan]], [[0.5, -1]]),
])  # fmt: skip
def test_actions_out_of_range_are_refused_in_every_space(played, bad, good):
    vector = SyncVectorEnv([lambda: Any(played=played)], autoreset_mode=AutoresetMode.SAME_STEP)
    env = CheckActions(vector)
    env.reset()
    dtype = played.dtype
    env.step(np.array(good, dtype))
    with pytest.raises(InputError, match=r"in lane 0 is out of range"):
        env.step(np.array(bad, dtype))


@pytest.mark.parametrize(
    ("seen", "played"), [*((seen, "0") for seen in SEEN), ("uint8", "5"), ("uint8", "-2")]
)
def test_host_environments_show_what_agents_can_take(seen, played):
    gymnasium.register("Any-v0", Any)
    try:
        env = envs.make("Any-v0", 2, seen=SEEN[seen], played=PLAYED[played], reward=np.uint8(7))
    finally:
        del gymnasium.registry["Any-v0"]
    obs, _ = env.reset()
    assert env.single_action_space == spaces.Discrete(4)
    kinds = {"uint16": "int32", "uint32": "float32", "int64": "float32", "float64": "float32"}
    shown = kinds.get(str(SEEN[seen].dtype), str(SEEN[seen].dtype))
    if isinstance(SEEN[seen], spaces.Box):
        assert env.single_observation_space.dtype == shown
    assert obs.numpy().dtype == env.single_observation_space.dtype
    assert env.observation_space.contains(obs.numpy())
    for action in range(4):
        obs, reward, *_, info = env.step(torch.tensor([action, 0]))
        assert env.observation_space.contains(obs.numpy())
        assert env.observation_space.contains(info["final_obs"].numpy())
        assert reward.tolist() == [7, 7]


@pytest.mark.filterwarnings("ignore:.*")
def test_non_stationary_environments_pass_gymnasiums_check():
    change = ObservationPermutation((4,), 3, seed=1, keep_first=False)
    schedule = Cyclic(5, 2)
    env = NonStationary(gymnasium.make("CartPole-v1", render_mode="rgb_array"), schedule,
                        [change, RewardFlip()], "latch", stride=2, lane=1)  # fmt: skip
    check_env(env)
    again = gymnasium.make(env.spec)
    assert isinstance(again, NonStationary)
    for name in ("schedule", "changes", "on_switch", "stride", "lane", "observation_space"):
        assert getattr(again, name) == getattr(env, name)
    assert again.spec.max_episode_steps == 500
    for left, right in zip(play(env, [0, 1] * 20)[0], play(again, [0, 1] * 20)[0], strict=True):
        np.testing.assert_array_equal(left, right)
