"""Device environments in the hands of others: Gymnasium's tools and Stable-Baselines3."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3 import DQN

from neoteny.envs import TensorEnv, make, registered
from neoteny.envs.minatar import GAMES
from neoteny.sb3.vec_env import SB3VecEnv

IDS = ["CartPole-v1", "Pendulum-v1", "MinAtar-Breakout-v1"]


@pytest.mark.parametrize("id", IDS)
def test_numpy_output_is_the_same_episode_in_gymnasiums_form(id):
    arrays = gymnasium.make_vec(
        f"neoteny/{id}", 6, autoreset_mode="SameStep", seed=2, max_episode_steps=15
    )
    tensors = make(id, 6, seed=2, max_steps=15)
    obs, info = arrays.reset()
    assert isinstance(obs, np.ndarray)
    assert info == {}
    assert np.array_equal(obs, tensors.reset()[0])
    arrays.action_space.seed(0)
    finished = 0
    for _ in range(40):
        action = arrays.action_space.sample()
        *found, info = arrays.step(action)
        *expected, expected_info = tensors.step(torch.from_numpy(action))
        for array, tensor in zip(found, expected, strict=True):
            assert type(array) is np.ndarray
            assert np.array_equal(array, tensor)
        assert arrays.observation_space.contains(found[0])
        done = found[2] | found[3]
        finished += done.sum()
        assert ("final_obs" in info) == done.any()
        if done.any():
            assert np.array_equal(info["_final_obs"], done)
            assert np.array_equal(info["final_obs"][done], expected_info["final_obs"][done])
    assert finished >= 12
    arrays.close()


# Gymnasium calls v0 outdated wherever v1 exists; here, as in MinAtar, v1 is the minimal action set.
@pytest.mark.filterwarnings("ignore:.*is out of date")
@pytest.mark.parametrize("id", registered())
def test_gymnasium_makes_and_describes_it(id):
    options = {"layouts": 64} if "MultiRoom" in id else {}
    env = gymnasium.make_vec(id, num_envs=8, numpy=False, **options)
    assert isinstance(env.unwrapped, TensorEnv)
    assert env.num_envs == env.lanes == 8
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    obs, info = env.reset(seed=1)
    assert obs.numpy().dtype == env.observation_space.dtype
    assert obs.shape == env.observation_space.shape
    if "MinAtar" in id:
        assert info == {}
        assert obs.dtype == torch.bool
        assert obs.shape == (8, 10, 10, len(GAMES[id.split("-")[1]].game.channels))
    assert env.observation_space.contains(obs.numpy())
    assert env.single_observation_space.contains(obs[0].numpy())
    for _ in range(2):
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert reward.dtype == torch.float32
        assert terminated.dtype == truncated.dtype == torch.bool
        assert reward.shape == terminated.shape == truncated.shape == (8,)
    env.close()


def test_gymnasium_passes_options_and_vector_wrappers_apply():
    env = gymnasium.make_vec(
        "neoteny/MinAtar-Breakout-v1", num_envs=2, members=3, seed=4, render_mode="rgb_array"
    )
    assert env.unwrapped.seeds == (4, 5, 6)
    assert env.num_envs == 6
    assert env.single_action_space.n == 3
    wrapped = gymnasium.vector.VectorWrapper(env)
    wrapped.reset()
    frames = wrapped.render()
    assert len(frames) == 6
    assert frames[0].shape == (320, 320, 3)
    assert frames[0].std() > 0


@pytest.mark.filterwarnings("ignore:.*is out of date")
@pytest.mark.parametrize("id", IDS)
def test_spaces_and_metadata_are_what_gymnasium_asks_of_vector_environments(id):
    env = gymnasium.make_vec(f"neoteny/{id}", 3, members=2)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert env.spec.id == f"neoteny/{id}"
    assert env.observation_space == batch_space(env.single_observation_space, 6)
    assert env.action_space == batch_space(env.single_action_space, 6)
    again = gymnasium.make_vec(env.spec)
    assert again.num_envs == 6
    left, right = env.reset(seed=3)[0], again.reset(seed=3)[0]
    assert left.dtype == env.observation_space.dtype
    assert np.array_equal(left, right)


@pytest.mark.skipif(
    gymnasium.__version__.startswith("1.3."), reason="its statistics lose a step after each episode"
)
def test_gymnasiums_episode_statistics_count_what_a_loop_counts():
    env = RecordEpisodeStatistics(
        gymnasium.make_vec("neoteny/CartPole-v1", 4, autoreset_mode="SameStep")
    )
    env.reset()
    env.action_space.seed(1)
    length = np.zeros(4)
    episodes = 0
    for _ in range(120):
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        length += 1
        done = terminated | truncated
        if done.any():
            assert np.array_equal(info["episode"]["l"][done], length[done])
            assert np.array_equal(info["episode"]["r"][done], length[done])
        episodes += done.sum()
        length[done] = 0
    assert episodes >= 8


def test_sb3_sees_the_same_steps():
    options = {"members": 3, "max_steps": 20}
    env, lanes = SB3VecEnv(make("CartPole-v1", 2, **options)), make("CartPole-v1", 2, **options)
    env.seed(7)
    assert np.array_equal(env.reset(), lanes.reset(seed=7)[0])
    generator = np.random.default_rng(0)
    flags = []
    for _ in range(80):
        action = generator.integers(2, size=6)
        obs, reward, done, infos = env.step(action)
        expected, paid, terminated, truncated, info = lanes.step(torch.from_numpy(action))
        assert np.array_equal(obs, expected)
        assert np.array_equal(reward, paid)
        assert np.array_equal(done, terminated | truncated)
        for lane, entry in enumerate(infos):
            assert entry["TimeLimit.truncated"] == truncated[lane]
            assert ("terminal_observation" in entry) == done[lane]
            if done[lane]:
                assert np.array_equal(entry["terminal_observation"], info["final_obs"][lane])
        flags += [
            entry["TimeLimit.truncated"] for entry in infos if "terminal_observation" in entry
        ]
    assert any(flags)
    assert not all(flags)
    assert env.get_attr("lanes", [0, 3]) == [2, 2]
    assert env.env_method("max_truncations", 24, indices=0) == [2]
    env.set_attr("final_observations", True)
    assert env.env_is_wrapped(gymnasium.Wrapper) == [False] * 6
    env.close()


@pytest.mark.parametrize("id", ["CartPole-v1", "MinAtar-Breakout-v1"])
def test_sb3_dqn_trains(id):
    env = SB3VecEnv(make(id, 4))
    agent = DQN(
        "MlpPolicy", env, learning_starts=100, buffer_size=2_000, train_freq=4, seed=0,
        device="cpu",
    )  # fmt: skip
    before = [parameter.clone() for parameter in agent.q_net.parameters()]
    agent.learn(400)
    after = list(agent.q_net.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert agent.replay_buffer.size() == 100


@pytest.mark.filterwarnings("ignore:You tried to call render")
def test_sb3_tiles_the_frames():
    env = SB3VecEnv(make("MinAtar-Breakout-v0", 4, render_mode="rgb_array"))
    env.reset()
    assert env.render("rgb_array").shape == (640, 640, 3)
    assert SB3VecEnv(make("MinAtar-Breakout-v0", 2)).get_images() == [None, None]
