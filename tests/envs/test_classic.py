"""Classic control against Gymnasium: one step from the same state, starts, limits, parameters."""

import gymnasium
import numpy as np
import pytest
import torch
from host_calls import no_waits
from oracles.classic_pair import Pair, sample, scattered

from neoteny.envs import make
from neoteny.envs.classic import PROBLEMS


@pytest.mark.filterwarnings("ignore:.*is out of date")
@pytest.mark.parametrize("id", [id for id in PROBLEMS if id != "CartPole-v0"])
@pytest.mark.parametrize(
    ("start", "lanes", "steps"),
    [
        ("episodes", 16, 30),
        ("anywhere", 400, 1),
        pytest.param("episodes", 64, 1_600, marks=pytest.mark.slow),
        pytest.param("anywhere", 100_000, 1, marks=pytest.mark.slow),
    ],
)
def test_a_step_equals_gymnasiums(id, start, lanes, steps):
    pair = Pair(id, lanes, anywhere=start == "anywhere")
    pair.run(steps)
    pair.tally.check()
    if start == "anywhere":
        assert (pair.terminations > 0) == (id != "Pendulum-v1")


@pytest.mark.parametrize(
    ("id", "parameters"),
    [
        ("CartPole-v1", {"gravity": 4.0, "masspole": 0.7, "masscart": 2.0, "length": 0.8}),
        ("CartPole-v1", {"force_mag": 3.0, "tau": 0.05}),
        ("MountainCar-v0", {"force": 0.002, "gravity": 0.001}),
        ("MountainCarContinuous-v0", {"power": 0.003}),
        ("Acrobot-v1", {"LINK_LENGTH_1": 1.3, "LINK_MASS_1": 0.7, "LINK_MASS_2": 1.9}),
        ("Acrobot-v1", {"LINK_COM_POS_1": 0.4, "LINK_COM_POS_2": 0.7, "LINK_MOI": 2.0, "dt": 0.1}),
        ("Pendulum-v1", {"g": 3.0, "m": 2.0, "l": 0.5, "dt": 0.02}),
    ],
)
def test_parameters_mean_what_gymnasiums_attributes_mean(id, parameters):
    pair = Pair(id, 200, parameters=parameters, anywhere=True)
    pair.run(1)
    pair.tally.check()
    env, usual = pair.env, make(id, 200)
    usual.reset()
    usual.state |= {"physics": scattered(env)}
    changed = usual.step(sample(env, 1)[0])[4]["final_obs"]
    env.state |= {"physics": scattered(env)}
    assert not torch.equal(changed, env.step(sample(env, 1)[0])[4]["final_obs"])


@pytest.mark.parametrize("id", PROBLEMS)
def test_parameters_are_per_lane_and_per_member(id):
    name, usual = next(iter(make(id, 1).defaults.items()))
    env = make(id, 3, members=2, parameters={name: [usual, 2 * usual]})
    lanes = torch.tensor([usual] * 3 + [2 * usual] * 3, dtype=torch.float64)
    assert torch.equal(env.parameters[name], lanes)
    held = env.parameters[name]
    env.set_parameters(**{name: torch.arange(1, 7)})
    assert env.parameters[name] is held
    assert held.tolist() == [1, 2, 3, 4, 5, 6]
    env.set_parameters(**{name: np.float32(usual)})
    env.reset()
    alone = make(id, 3)
    alone.reset()
    action = sample(alone, 1)[0]
    both = torch.cat([action, action])
    env.set_parameters(**{name: [usual, 1.7 * usual]})
    obs = env.step(both)[0]
    assert torch.equal(obs[:3], alone.step(action)[0])


@pytest.mark.parametrize("id", PROBLEMS)
def test_starts_are_uniform_within_gymnasiums_bounds(id):
    env = make(id, 20_000)
    env.reset()
    reference = gymnasium.make(id, disable_env_checker=True).unwrapped if id[-1] != "0" else None
    for column, (low, high) in zip(env.state["physics"].T, env.starts, strict=True):
        assert low <= column.min() <= column.max() <= high
        if low == high:
            continue
        fraction = ((column - low) / (high - low)).sort().values
        # Kolmogorov and Smirnov: 1.95 / sqrt(n) at a level of 0.1 %.
        uniform = torch.linspace(0, 1, len(fraction), dtype=torch.float64)
        assert (fraction - uniform).abs().max() < 1.95 / len(fraction) ** 0.5
    if reference is not None:
        starts = np.stack([(reference.reset(seed=s), reference.state)[1] for s in range(300)])
        lows, highs = np.array(env.starts).T
        assert (starts >= lows - 1e-6).all()
        assert (starts <= highs + 1e-6).all()
        assert (np.ptp(starts, axis=0) >= 0.9 * (highs - lows)).all()


@pytest.mark.filterwarnings("ignore:.*is out of date")
@pytest.mark.parametrize("id", PROBLEMS)
def test_spaces_and_limits_are_gymnasiums(id):
    env, spec = make(id, 2), gymnasium.spec(id)
    reference = gymnasium.make(id)
    assert env.single_observation_space == reference.observation_space
    assert env.single_action_space == reference.action_space
    assert env.max_steps == spec.max_episode_steps
    assert env.max_truncations(1_000) == -(-1_000 // spec.max_episode_steps)
    assert make(id, 2, max_steps=7).max_steps == 7


def test_float32_stays_near_for_a_step():
    double, single = make("CartPole-v1", 64), make("CartPole-v1", 64, precision="float32")
    for env in (double, single):
        env.reset()
    assert single.state["physics"].dtype == torch.float32
    for action in sample(double, 5):
        torch.testing.assert_close(
            single.step(action)[0], double.step(action)[0], rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("id", PROBLEMS)
def test_nothing_waits_for_the_device(id, host_calls):
    env = make(id, 4, members=2)
    env.reset()
    name, usual = next(iter(env.defaults.items()))
    action, values = sample(env, 1)[0], torch.full((2,), usual)
    with host_calls() as calls:
        env.step(action)
        env.set_parameters(**{name: values})
        env.set_parameters(**{name: usual})
        obs = env.step(action)[0]
    assert calls.host == []
    assert obs.is_contiguous()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make("CartPole-v1", 1).set_parameters(gravty=1), "no parameter 'gravty'.*gravity"),
        (lambda: make("CartPole-v1", 1, parameters={"mass": 1}), "its parameters are"),
        (lambda: make("CartPole-v1", 2, 3, parameters={"tau": [1, 2]}), r"shape \(2,\).*\(3,\)"),
        (lambda: make("CartPole-v1", 1, parameters={"tau": float("nan")}), "must be finite"),
        (lambda: make("CartPole-v1", 1, precision="float16"), "precision is 'float16'"),
        (lambda: make("CartPole-v1", 1, render_mode="human"), "render_mode is 'human'"),
        (lambda: make("CartPole-v1", 1, sticky=0.1), "no option 'sticky'"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.gpu
@pytest.mark.parametrize("id", PROBLEMS)
def test_cuda_steps_like_the_cpu_without_waiting(id):
    env, device = make(id, 512, 2, seed=1), make(id, 512, 2, device="cuda", seed=1)
    env.reset()
    device.reset()
    for action in sample(env, 100):
        device.state = {name: value.cuda() for name, value in env.state.items()}
        on_device = action.cuda()
        with no_waits():
            *found, _ = device.step(on_device)
        *expected, _ = env.step(action)
        for left, right in zip(found, expected, strict=True):
            torch.testing.assert_close(left.cpu(), right, rtol=0, atol=1e-5)


def test_continuous_actions_have_an_axis():
    env = make("Pendulum", 4)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(torch.zeros(4, 1))
    env.reset()
    with pytest.raises(ValueError, match=r"shape \(4,\), expected \(4, 1\)"):
        env.step(torch.zeros(4))
