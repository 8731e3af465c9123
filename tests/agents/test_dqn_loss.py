"""The pure functions of DQN's update and exploration against closed forms."""

import numpy as np
import pytest
import torch
from scipy import stats

from neoteny.agents.dqn_loss import DQNConfig, epsilon_at, explore, td_loss, td_target


def test_targets_of_plain_and_double_q_learning():
    target_values = torch.tensor([[[1.0, 5.0], [2.0, 3.0]]])
    online_values = torch.tensor([[[9.0, 0.0], [0.0, 9.0]]])
    returns, discount = torch.tensor([[[10.0], [20.0]]]), torch.tensor([[[0.5], [0.0]]])
    plain = td_target(returns, discount, target_values, None)
    double = td_target(returns, discount, target_values, online_values)
    assert plain.tolist() == [[[12.5], [20.0]]]  # the larger of 1 and 5; then terminated
    assert double.tolist() == [[[10.5], [20.0]]]  # the online network prefers the first action


def test_huber_and_squared_losses_and_their_gradients():
    values = torch.tensor([[[0.0, 2.0], [0.5, 7.0]]], requires_grad=True)
    action, target = torch.tensor([[[1], [0]]]), torch.tensor([[[-1.0], [0.0]]])
    for kind, loss, slopes in (("huber", (2.5 + 0.125) / 2, [1, 0.5]), ("mse", 2.3125, [3, 0.5])):
        found, statistics = td_loss(values, action, target, kind)
        (grad,) = torch.autograd.grad(found.sum(), values)
        assert found.item() == pytest.approx(loss)
        assert grad.tolist() == [[[0, slopes[0] / 2], [slopes[1] / 2, 0]]]
        assert statistics[:, 0].tolist() == pytest.approx([loss, 1.75, 1.25, -0.5])


def test_epsilon_at_start_middle_and_end_and_per_lane():
    config = DQNConfig(epsilon_start=0.9, epsilon_end=0.1, epsilon_steps=400)
    steps = torch.tensor([0, 100, 200, 400, 10_000])
    np.testing.assert_allclose(
        epsilon_at(steps, 2, config)[:, 1], [0.9, 0.7, 0.5, 0.1, 0.1], rtol=1e-6
    )
    apex = DQNConfig(epsilon_start=0.4, epsilon_end=0.4, epsilon_spread=7.0)
    expected = [0.4 ** (1 + 7 * i / 7) for i in range(8)]
    np.testing.assert_allclose(epsilon_at(steps, 8, apex)[3], expected, rtol=1e-6)
    assert epsilon_at(steps, 1, apex).shape == (5, 1)


def test_exploring_actions_have_their_probabilities():
    uniform = torch.rand(60_000, generator=torch.Generator().manual_seed(0))
    action = explore(torch.full((60_000,), 2), uniform, 0.3, 3)
    counts = torch.bincount(action, minlength=3).numpy()
    assert stats.chisquare(counts, [6_000, 6_000, 48_000]).pvalue > 1e-3
    assert (explore(torch.full((9,), 2), uniform[:9], torch.tensor(0.0), 3) == 2).all()
    edge = torch.tensor([0.0, 1.0 - 2**-24])
    assert explore(torch.zeros(2).long(), edge, 1.0, 3).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_envs": 0}, "num_envs is 0"),
        ({"gamma": 1.5}, "gamma is 1.5"),
        ({"epsilon_spread": -1}, "epsilon_spread is -1"),
        ({"replay_size": 5_000}, "fewer than learning_starts 10000: raise it"),
    ],
)
def test_bad_hyper_parameters_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        DQNConfig(**change)
