"""Registered ids follow Gymnasium's protocol for single environments, as its own do."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RenderCollection

from neoteny import envs
from neoteny.core.errors import InputError
from neoteny.envs.one_lane import OneLane

#: One of each kind; the tests marked slow take every id.
FEW = ["MinAtar-Asterix-v1", "MiniGrid-DoorKey-5x5-v0", "CartPole-v1", "Pendulum-v1"]
ALL = [id.removeprefix("neoteny/") for id in envs.registered()]


def warnings_of(env):
    """Warnings of Gymnasium's checks, frames included."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped)
    return sorted({str(one.message) for one in caught if "check_env" not in str(one.message)})


@pytest.mark.filterwarnings("ignore:.*is out of date")
@pytest.mark.parametrize(
    "id", [pytest.param(id, marks=() if id in FEW else pytest.mark.slow) for id in ALL]
)
def test_gymnasiums_check_warns_of_nothing_that_it_does_not_in_its_own(id):
    pytest.importorskip("pygame")
    options = {"layouts": 1} if "MultiRoom" in id else {}
    found = warnings_of(gymnasium.make(f"neoteny/{id}", render_mode="rgb_array", **options))
    if (
        found
    ):  # Gymnasium's spaces of CartPole have no bounds, Pendulum's actions are not in [-1, 1]
        assert found == warnings_of(gymnasium.make(id, render_mode="rgb_array"))


def test_frames_are_collected_by_gymnasiums_wrapper():
    env = gymnasium.make("neoteny/MinAtar-Asterix-v1", render_mode="rgb_array_list")
    assert isinstance(env, RenderCollection)
    env.reset(seed=0)
    env.step(0)
    assert [frame.shape for frame in env.render()] == [(320, 320, 3)] * 2
    assert gymnasium.make("neoteny/CartPole-v1").metadata["render_fps"] == 30


@pytest.mark.parametrize(("id", "bad", "good"), [
    ("CartPole-v1", [5, -1, [1], 0.5, None, "1", [[0]]], [1, np.int64(0), np.uint8(1), True]),
    ("Pendulum-v1", [0.5, [[0.5]], [0.1, 0.2], [None], ["1"]], [[0.5], [1], np.ones(1), [9.0]]),
])  # fmt: skip
def test_an_action_is_one_of_the_space_or_refused(id, bad, good):
    env = gymnasium.make(f"neoteny/{id}")
    with pytest.raises(ResetNeeded):
        OneLane(envs.make(id, 1)).step(good[0])
    for action in bad:
        env.reset(seed=0)
        with pytest.raises(InputError, match="is not in the action space"):
            env.step(action)
    for action in good:
        env.reset(seed=0)
        assert env.observation_space.contains(env.step(action)[0])


@pytest.mark.parametrize("actions", [np.zeros(2), np.float32([0.5, 1]), [0.0, 1.0]])
def test_fractions_are_no_choices(actions):
    env = envs.make("CartPole", 2)
    env.reset()
    with pytest.raises(InputError, match=r"but MultiDiscrete\(\[2 2\]\) takes whole numbers"):
        env.step(actions)


def test_gymnasiums_name_of_the_limit_is_the_one_there():
    for make in (gymnasium.make, gymnasium.make_vec):
        with pytest.raises(InputError, match="max_steps=9: Gymnasium calls it max_episode_steps"):
            make("neoteny/CartPole-v1", max_steps=9)
        with pytest.raises((ValueError, AssertionError), match=r"max_episode_steps|positive"):
            make("neoteny/CartPole-v1", max_episode_steps=0)
