"""Stable-Baselines3's checker and recorders take our ids as they are."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecMonitor, VecVideoRecorder

from neoteny import envs
from neoteny.core.errors import InputError
from neoteny.sb3.vec_env import SB3VecEnv

IDS = ["CartPole-v1", "Pendulum-v1", "MinAtar-Asterix-v1", "MiniGrid-DoorKey-5x5-v0"]


#: Properties of the games, for which their references are warned of as well.
OF_THE_GAMES = (
    "The minimal resolution for an image is 36x36",
    "It seems that your observation",  # MinAtar's boards of bool are no images of 256 values
    "We recommend you to use a symmetric and normalized Box action space",
)


@pytest.mark.parametrize("id", IDS)
def test_stable_baselines3s_checker_finds_no_fault(id):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(gymnasium.make(f"neoteny/{id}", render_mode="rgb_array"), warn=True)
    found = [str(one.message) for one in caught]
    assert [text for text in found if not text.startswith(OF_THE_GAMES)] == []


@pytest.mark.parametrize("id", IDS)
def test_what_make_vec_makes_is_taken_as_tensors_are(id):
    """Episodes recorded by VecMonitor are those that the tensors' rewards add up to."""
    made = gymnasium.make_vec(f"neoteny/{id}", 3, max_episode_steps=9)
    env = VecMonitor(SB3VecEnv(made))
    tensors = envs.make(id, 3, max_steps=9)
    env.seed(4)
    assert np.array_equal(env.reset(), tensors.reset(seed=4)[0])
    total, episodes = np.zeros(3), 0
    for _ in range(20):
        actions = np.stack([env.action_space.sample() for _ in range(3)])
        obs, _, done, infos = env.step(actions)
        expected, reward, *_ = tensors.step(actions)
        assert np.array_equal(obs, expected)
        total += reward.numpy()
        for lane in np.flatnonzero(done):
            assert infos[lane]["episode"]["r"] == pytest.approx(total[lane], abs=1e-5)
            total[lane] = 0
            episodes += 1
    assert episodes >= 6


def test_arrays_are_refused_with_what_to_wrap():
    recorded = RecordEpisodeStatistics(gymnasium.make_vec("neoteny/CartPole-v1", 2))
    for env in (recorded, gymnasium.make_vec("CartPole-v1", 2, "sync")):
        with pytest.raises(
            InputError, match=r"returns no tensors: give what neoteny\.envs\.make or"
        ):
            SB3VecEnv(env)


def test_make_vec_env_of_stable_baselines3():
    env = make_vec_env("neoteny/CartPole-v1", 2, seed=0)
    assert env.reset().shape == (2, 4)
    assert env.step(np.array([0, 1]))[0].shape == (2, 4)


def test_videos_are_recorded(tmp_path):
    pytest.importorskip("moviepy")
    env = SB3VecEnv(gymnasium.make_vec("neoteny/CartPole-v1", 2, render_mode="rgb_array"))
    env = VecVideoRecorder(env, str(tmp_path), lambda step: step == 0, video_length=5)
    env.reset()
    for _ in range(8):
        env.step(np.zeros(2, int))
    env.close()
    assert list(tmp_path.glob("*.mp4"))
