"""Frames of all environments, alone, in a loop of one's own, and inside streams."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete

from neoteny.envs import ENVIRONMENTS, TensorEnv, make, registered
from neoteny.envs.minatar import GAMES
from neoteny.envs.minatar.board_image import CELL, COLOURS
from neoteny.envs.one_lane import OneLane
from neoteny.wrappers import (
    STREAMS,
    Cyclic,
    Dynamics,
    EpisodeStatistics,
    NonStationary,
    NonStationaryVector,
    ObservationPermutation,
    RewardFlip,
    StreamDefinition,
    make_stream,
)

IDS = list({ENVIRONMENTS[id][0]: id for id in registered()}.values())
"""One of each kind."""


def sample(env, steps, seed=0):
    generator = np.random.default_rng(seed)
    space, lanes = env.single_action_space, env.num_envs
    if isinstance(space, Discrete):
        return torch.from_numpy(generator.integers(space.n, size=(steps, lanes)))
    return torch.from_numpy(generator.uniform(-1, 1, (steps, lanes, *space.shape)))


def seen(env):
    """Observations of the lanes as they are: a reset of none."""
    return env.reset(options={"reset_mask": [False] * env.num_envs})[0]


def play(env, steps):
    env.reset()
    for action in sample(env, steps):
        env.step(action)
    return env


@pytest.mark.parametrize(
    "id",  # MiniGrid's families are drawn by one function
    [
        pytest.param(id, marks=pytest.mark.slow if "MiniGrid" in id and place % 4 else ())
        for place, id in enumerate(IDS)
    ],
)
def test_every_environment_is_drawn(id):
    options = {"layouts": 16} if "MultiRoom" in id else {}
    env = make(id, 2, render_mode="rgb_array", **options)
    assert env.render() is None
    assert env.metadata["render_modes"] == ["rgb_array"]
    assert env.metadata["render_fps"] > 0
    frames = play(env, 3).render()
    assert len(frames) == 2
    assert frames[0].dtype == np.uint8
    assert frames[0].ndim == 3
    assert frames[0].shape[2] == 3
    assert min(frames[0].shape[:2]) >= 64
    assert frames[0].std() > 5
    again = env.render()
    assert all(np.array_equal(one, two) for one, two in zip(frames, again, strict=True))
    for action in sample(env, 20, seed=1):
        env.step(action)
    assert not np.array_equal(env.render()[0], frames[0])
    env.render_mode = None
    assert env.render() is None
    env.close()


@pytest.mark.parametrize("game", GAMES)
def test_a_cell_has_the_colours_of_its_objects(game):
    env = play(make(f"MinAtar-{game}-v0", 6, render_mode="rgb_array"), 40)
    known = list(COLOURS)
    names = GAMES[game].game.channels
    assert set(names) <= set(known)
    assert len({COLOURS[name] for name in names}) == len(names)
    shown = set()
    for board, frame in zip(seen(env).numpy(), env.render(), strict=True):
        cells = frame.reshape(10, CELL, 10, CELL, 3).swapaxes(1, 2)
        for y, x in np.ndindex(10, 10):
            here = sorted((names[c] for c in np.flatnonzero(board[y, x])), key=known.index)
            outside, inside = cells[y, x, 4, 4], cells[y, x, CELL // 2, CELL // 2]
            shown |= set(here[:1])
            if not here:
                assert tuple(outside) not in COLOURS.values()
                assert tuple(inside) == tuple(outside)
                continue
            second = here[1] if len(here) > 1 and here[1] != "trail" else here[0]
            assert tuple(outside) == COLOURS[here[0]]
            assert tuple(inside) == COLOURS[second]
    assert len(shown) >= 3


def test_frames_do_not_show_permuted_or_padded_channels():
    orders = np.stack([np.random.default_rng(seed).permutation(10) for seed in range(2)])
    options = {"seed": [3, 3], "render_mode": "rgb_array"}
    plain = play(make("MinAtar-Seaquest-v0", 3, 2, **options), 30)
    shuffled = play(make("MinAtar-Seaquest-v0", 3, 2, channel_order=orders, **options), 30)
    padded = play(
        make("MinAtar-Breakout-v0", 3, 2, channels=10, channel_order=orders, **options), 5
    )
    assert not torch.equal(seen(plain), seen(shuffled))
    assert np.array_equal(plain.render(), shuffled.render())
    plain = play(make("MinAtar-Breakout-v0", 3, 2, **options), 5)
    assert np.array_equal(plain.render(), padded.render())


def test_a_game_of_ones_own_needs_no_colours():
    class Other(GAMES["Breakout"]):
        game = type(GAMES["Breakout"].game)("Other", ("a", "b", "c", "d"), (0,))

    frame = play(Other(1, render_mode="rgb_array"), 3).render()[0]
    assert frame.std() > 5


@pytest.mark.parametrize(
    ("id", "options"),
    [
        ("MinAtar-Breakout-v0", {}),
        ("MiniGrid-DoorKey-5x5-v0", {}),
        ("Acrobot-v1", {}),
        ("CartPole-v1", {"backend": "host"}),
        ("CartPole-v1", {"backend": "host", "vectorization": "async"}),
    ],
)
def test_chosen_lanes_are_drawn(id, options):
    env = play(make(id, 2, 2, render_mode="rgb_array", **options), 9)
    every = env.render()
    assert len(every) == 4
    env.render_lanes = [3, 0]
    assert np.array_equal(env.render(), [every[3], every[0]])
    env.close()


@pytest.mark.parametrize(
    "id",
    [
        "MinAtar-Breakout-v1",
        *(
            pytest.param(id, marks=pytest.mark.slow)
            for id in ("MiniGrid-DoorKey-5x5-v0", "CartPole-v1", "Pendulum-v1")
        ),
    ],
)
def test_gymnasium_make_plays_the_episodes_of_lane_0(id):
    one = gymnasium.make(f"neoteny/{id}", render_mode="rgb_array", max_episode_steps=7)
    many = make(id, 4, seed=5, render_mode="rgb_array", max_steps=7)
    obs, info = one.reset(seed=5)
    assert isinstance(one.unwrapped, OneLane)
    assert np.array_equal(obs, many.reset()[0][0])
    assert set(info) == ({"direction", "mission"} if "MiniGrid" in id else set())
    many.render_lanes = [0]
    finished, restarts_differ = 0, False
    for action in sample(many, 16):
        assert np.array_equal(one.render(), many.render()[0])
        obs, reward, terminated, truncated, _ = one.step(action[0].numpy())
        expected, paid, *ends, after = many.step(action)
        assert reward == paid[0]
        assert [terminated, truncated] == [bool(end[0]) for end in ends]
        assert np.array_equal(obs, after["final_obs"][0])
        assert one.observation_space.contains(obs)
        if terminated or truncated:
            finished += 1
            last = one.render()
            obs = one.reset()[0]
            restarts_differ |= not np.array_equal(one.render(), last)
        assert np.array_equal(obs, expected[0])
    assert finished >= 2
    assert restarts_differ
    obs, _ = one.reset(seed=5)
    assert np.array_equal(obs, many.reset(seed=5)[0][0])
    one.close()


def test_gymnasiums_own_vector_environments_take_it_too():
    env = gymnasium.make_vec(
        "neoteny/CartPole-v1", 2, vectorization_mode="sync", render_mode="rgb_array"
    )
    env.reset(seed=0)
    assert len(env.render()) == 2
    env.close()


def test_one_lane_is_one_lane():
    with pytest.raises(ValueError, match="env has 2 lanes"):
        gymnasium.make("neoteny/CartPole-v1", members=2)


def test_an_environment_without_frames_says_so():
    class Plain(TensorEnv):
        def _initial(self, draws):
            return {"x": torch.zeros(1)}

        def _transition(self, state, actions, draws):
            return {}, state["x"], state["x"] > 1

        def _observe(self, state):
            return state["x"]

    env = Plain(gymnasium.spaces.Box(0, 1, ()), Discrete(2), 1)
    env.reset()
    assert env.render() is None
    env.render_mode = "rgb_array"
    with pytest.raises(NotImplementedError, match="Plain draws no frames"):
        env.render()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if place % 2 else ())
        for place, name in enumerate(STREAMS)
    ],
)
def test_every_stream_is_drawn_across_a_switch(name):
    stream = make_stream(name, 2, members=3, task_steps=8, render_mode="rgb_array")
    env = EpisodeStatistics(stream)
    env.reset()
    env.render_lanes = [4, 1]
    frames = []
    for action in sample(env, 6):
        frames.append(env.render())
        assert len(frames[-1]) == 2
        env.step(action)
    assert env.render_mode == "rgb_array"
    assert any(not np.array_equal(frames[0][0], frame[0]) for frame in frames[1:])
    assert make_stream(name, 2, task_steps=8).render() is None


def test_members_of_a_chain_see_their_own_game():
    stream = make_stream(
        "minatar-continual", 2, 4, seed=[0, 1, 2, 3], task_steps=8, render_mode="rgb_array"
    )
    stream.reset()
    tasks = stream.tasks_at(0)
    assert len(set(tasks)) > 1
    frames = stream.render()
    assert len(frames) == 8
    bricks = [(frame == COLOURS["brick"]).all(2).any() for frame in frames]
    assert bricks == [tasks[lane // 2] == 0 for lane in range(8)]


def test_a_stream_of_ones_own_is_drawn():
    chain = StreamDefinition("own", ({"id": "CartPole-v1"}, {"id": "CartPole-v1"}))
    stream = make_stream(chain, 1, task_steps=4, render_mode="rgb_array")
    stream.reset()
    assert stream.render()[0].shape == (400, 600, 3)


def test_changes_of_observations_and_rewards_do_not_show():
    changes = [ObservationPermutation((4,), 2, 0), RewardFlip()]
    plain = make("CartPole-v1", 2, render_mode="rgb_array")
    changed = NonStationaryVector(
        make("CartPole-v1", 2, render_mode="rgb_array"), Cyclic(4, 2), changes, "now"
    )
    assert np.array_equal(play(changed, 5).render(), play(plain, 5).render())
    long = NonStationaryVector(
        make("CartPole-v1", 2, render_mode="rgb_array"),
        Cyclic(4, 2),
        [Dynamics("length", (2.0, 1))],
    )
    long.reset()
    plain.reset(seed=0)
    assert not np.array_equal(long.render(), plain.render())


def test_a_host_environment_with_changes_is_drawn():
    env = NonStationary(
        gymnasium.make("CartPole-v1", render_mode="rgb_array"), Cyclic(4, 2), [RewardFlip()]
    )
    env.reset(seed=0)
    first = env.render()
    for _ in range(3):
        env.step(1)
    assert env.render_mode == "rgb_array"
    assert first.shape == (400, 600, 3)
    assert not np.array_equal(env.render(), first)
