"""Environments that nobody seeds begin differently; one seed gives one run."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from neoteny import envs
from neoteny.wrappers import NonStationary, Periodic, RewardFlip, TaskSwitch

#: The first begins alike and draws every few steps, the others begin at random.
STEPS = {"MinAtar-Asterix-v1": 40, "CartPole-v1": 2, "Acrobot-v1": 2}
IDS = list(STEPS)


def rows(env, steps=40):
    """Observations (T, L, ...) under a fixed action, of Gymnasium's or Stable-Baselines3's API."""
    found = env.reset()
    found = [found[0] if isinstance(found, tuple) else found]
    action = np.zeros(env.num_envs, int)
    for _ in range(steps):
        found.append(env.step(action)[0])
    return np.stack([np.asarray(obs).copy().reshape(env.num_envs, -1) for obs in found])


def assert_all_differ(obs):
    lanes = obs.shape[1]
    for a in range(lanes):
        for b in range(a):
            assert not np.array_equal(obs[:, a], obs[:, b])


def single(id):
    return lambda: gymnasium.make(f"neoteny/{id}", disable_env_checker=True)


def varying(id):
    return lambda: NonStationary(single(id)(), Periodic(60), [RewardFlip()])


MAKERS = {
    "sync": lambda id: gymnasium.make_vec(f"neoteny/{id}", 3, "sync"),
    "entry point": lambda id: gymnasium.make_vec(f"neoteny/{id}", 3),
    "dummy": lambda id: DummyVecEnv([single(id)] * 3),
    "non-stationary": lambda id: SyncVectorEnv([varying(id)] * 3),
}


@pytest.mark.parametrize(
    ("kind", "id"),
    [
        (kind, id)
        for place, kind in enumerate(MAKERS)
        for at, id in enumerate(IDS)
        if kind == "entry point" or at == place % len(IDS)
    ],
)
def test_lanes_and_runs_differ(kind, id):
    first, second = (rows(MAKERS[kind](id), STEPS[id]) for _ in range(2))
    assert_all_differ(np.concatenate([first, second], 1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["async", "subprocess"])
def test_lanes_in_processes_differ(kind):
    id = IDS[0]
    if kind == "async":
        env = gymnasium.make_vec(f"neoteny/{id}", 3, "async")
    else:
        env = SubprocVecEnv([single(id)] * 3, start_method="fork")
    try:
        assert_all_differ(rows(env))
    finally:
        env.close()


@pytest.mark.parametrize("backend", ["device", "host"])
def test_no_seed_is_drawn_for_each_member(backend):
    made = [envs.make("CartPole", 2, 3, seed=None, backend=backend) for _ in range(2)]
    assert len({seed for env in made for seed in env.seeds}) == 6
    assert all(0 <= seed < 2**63 for env in made for seed in env.seeds)
    assert_all_differ(np.concatenate([rows(env, 3) for env in made], 1))
    again = envs.make("CartPole", 2, 3, seed=made[0].seeds, backend=backend)
    assert torch.equal(again.reset()[0], made[0].reset(seed=list(made[0].seeds))[0])
    stream = TaskSwitch(["CartPole"], Periodic(99, 1), 2, 2, seed=None)
    assert len(set(stream.seeds)) == 2


@pytest.mark.parametrize("id", IDS[1:])  # the first always begins alike
def test_a_seed_is_kept_until_the_next_one(id):
    env = single(id)()
    obs, _ = env.reset()
    seed = env.unwrapped.np_random_seed  # the one that was drawn
    plays = [obs, env.reset()[0]]
    for started in (env, single(id)()):
        assert np.array_equal(started.reset(seed=seed)[0], plays[0])
        assert np.array_equal(started.reset()[0], plays[1])
    vector = gymnasium.make_vec(f"neoteny/{id}", 2)
    first = [vector.reset(seed=7)[0], vector.reset()[0]]
    assert not np.array_equal(*first)
    for obs, again in zip(first, (vector.reset(seed=7)[0], vector.reset()[0]), strict=True):
        assert np.array_equal(obs, again)


def test_a_seed_given_as_an_option_is_the_first():
    one = gymnasium.make("neoteny/CartPole-v1", seed=3)
    obs, _ = one.reset()
    assert one.unwrapped.np_random_seed == 3
    assert np.array_equal(obs, envs.make("CartPole", 1, seed=3).reset()[0][0])
    two = gymnasium.make_vec("neoteny/CartPole-v1", 2, seed=3)
    assert np.array_equal(two.reset()[0], envs.make("CartPole", 2, seed=3).reset()[0])


def test_lanes_of_one_seed_in_gymnasiums_vector_are_seeded_apart():
    env = SyncVectorEnv([single(IDS[0])] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    left = env.reset(seed=5)[0]
    assert np.array_equal(left, env.reset(seed=5)[0])
    assert_all_differ(rows(env))
