"""Environments on the host: bad input and wrong use are refused."""

import gymnasium
import pytest
import torch

from neoteny.envs import HostEnv, make


def host(id, num_envs, members=1, **options):
    return make(id, num_envs, members, backend="host", **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make("CartPol-v1", 1), "did you mean 'CartPole-v"),
        (lambda: make("Taxi-v44", 1), "did you mean 'Taxi-v4'"),
        (lambda: HostEnv("Taxi-v44"), "Gymnasium knows no environment 'Taxi-v44': did you mean"),
        (lambda: make("Taxi-v4", 1, backend="device"), "pass backend='host'"),
        (lambda: make("Taxi-v4", 1, backend="gpu"), "backend is 'gpu'"),
        (lambda: host("CartPole-v1", 1, gravity=3), "CartPole-v1.*gravity"),
        (lambda: host("CartPole-v1", 1, vectorization="fork"), "it must be one of sync, async"),
        (lambda: host("CartPole-v1", 1, observation="image"), "not a Dict"),
        (lambda: host("CartPole-v1", 0), "num_envs is 0"),
        (lambda: host("CartPole-v1", 1, max_steps=0), "max_steps is 0"),
        (lambda: host("CartPole-v1", 1, 2, seed=[1]), "1 seeds for 2 members"),
        (lambda: host("CartPole-v1", 1, seed=-1), "seed -1"),
        (lambda: host("CartPole-v1", 1).reset(options={"low": 0}), "takes only reset_mask"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_wrong_use_of_step_is_refused():
    env = host("CartPole-v1", 2)
    zeros = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(zeros)
    env.reset()
    env.final_observations = False
    assert env.step(zeros)[4] == {}
    with pytest.raises(ValueError, match=r"shape \(3,\), expected \(2,\)"):
        env.step(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"float32, but MultiDiscrete\(\[2 2\]\) takes whole"):
        env.step(torch.zeros(2))
    with pytest.raises(ValueError, match=r"shape \(1,\), expected \(2,\)"):
        env.reset(options={"reset_mask": [True]})
