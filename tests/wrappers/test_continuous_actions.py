"""Changes on environments whose actions are vectors."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from neoteny import envs
from neoteny.envs.base import TensorEnv
from neoteny.wrappers import (
    ActionPermutation,
    Change,
    Cyclic,
    Dynamics,
    LinearDrift,
    NonStationary,
    NonStationaryVector,
    Periodic,
    StickyActions,
)
from neoteny.wrappers.stream_files import define
from neoteny.wrappers.streams import make_stream


class Echo(TensorEnv):
    """Shows the vector that was played, and ends an episode after six steps."""

    def __init__(self, num_envs, members=1, low=-1.0, high=1.0, size=3):
        action = Box(np.float32(low), np.float32(high), (size,)) if np.isscalar(low) else None
        action = action or Box(np.array(low, np.float32), np.array(high, np.float32))
        seen = Box(-9.0, 9.0, action.shape)
        super().__init__(seen, action, num_envs, members, max_steps=6)

    def _initial(self, draws):
        return {"played": torch.zeros(1, *self.single_action_space.shape)}

    def _transition(self, state, actions, draws):
        done = torch.zeros(self.num_envs, dtype=torch.bool)
        return {"played": actions}, actions[:, 0].clone(), done

    def _observe(self, state):
        return state["played"]


class EchoOnce(gymnasium.Env):
    """One lane of an Echo as an ordinary environment."""

    observation_space = Box(-9.0, 9.0, (3,))
    action_space = Box(-1.0, 1.0, (3,))

    def reset(self, *, seed=None, options=None):
        self.count = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.count += 1
        return action.astype(np.float32), float(action[0]), False, self.count == 6, {}


def actions(steps, lanes, seed=0):
    return torch.rand(steps, lanes, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def played(env, given):
    env.reset()
    return torch.stack([env.step(action)[4]["final_obs"] for action in given])


def test_sticky_vectors_are_repeated_whole():
    env = NonStationaryVector(Echo(500), Periodic(10**6, 1), [StickyActions(0.3, shape=(3,))])
    given = actions(12, 500)
    found = played(env, given)
    assert (found == given).all(-1)[[0, 6]].float().mean() == pytest.approx(0.7, abs=0.05)
    stuck = (found != given).all(-1)
    assert torch.equal(stuck, (found != given).any(-1))
    assert stuck.float().mean() == pytest.approx(0.3, abs=0.02)
    before = torch.cat([torch.zeros(1, 500, 3), found[:-1]])
    before[6] = 0  # a new episode
    assert torch.equal(found[stuck], before[stuck])


def test_the_numbers_of_a_vector_trade_places_by_numpys_permutations():
    change = ActionPermutation(3, 4, seed=(5, 6), shape=(3,))
    env = NonStationaryVector(Echo(2, members=2), Cyclic(4, 4), [change])
    given = actions(8, 4)
    found = played(env, given).view(8, 2, 2, 3)
    for step in range(8):
        task = step * 2 // 4 % 4
        for member, seed in enumerate((5, 6)):
            order = np.random.default_rng([seed, task]).permutation(3) if task else np.arange(3)
            expected = given[step].view(2, 2, 3)[member][:, order.tolist()]
            assert torch.equal(found[step, member], expected)
    assert Change.from_dict(change.to_dict()) == change


@pytest.mark.parametrize("mode", ["reset", "latch", "now"])
@pytest.mark.parametrize(
    "change",
    [ActionPermutation(3, 4, seed=1, shape=(3,)), StickyActions((0, 0.9), seed=2, shape=(3,))],
    ids=["permutation", "sticky"],
)
def test_wrapped_singles_equal_the_vector_adapter(change, mode):
    schedule = Cyclic(9, 4)
    singles = SyncVectorEnv(
        [
            lambda lane=lane: NonStationary(
                EchoOnce(), schedule, [change], mode, stride=3, lane=lane
            )
            for lane in range(3)
        ],
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    vector = NonStationaryVector(Echo(3), schedule, [change], mode)
    np.testing.assert_array_equal(singles.reset()[0], vector.reset()[0])
    for action in actions(40, 3):
        theirs, ours = singles.step(action.numpy()), vector.step(action)
        for one, other in zip(theirs[:4], ours[:4], strict=True):
            np.testing.assert_array_equal(np.float32(one), np.float32(other))


@pytest.mark.parametrize(
    ("change", "env", "message"),
    [
        (StickyActions(0.1), Echo(2), r"for actions of shape \(\); the environment has Box"),
        (StickyActions(0.1, shape=(2,)), Echo(2), r"for actions of shape \(2,\)"),
        (StickyActions(0.1, shape=(3,)), Echo(2, low=0.5), "action 0, which is none"),
        (ActionPermutation(3, 2), Echo(2), "for 3 discrete actions; the environment has Box"),
        (ActionPermutation(2, 2, shape=(2,)), Echo(2), r"actions of shape \(2,\); the env"),
        (ActionPermutation(1, 2, shape=(1,)), Echo(2, size=1), "several numbers within the same"),
        (
            ActionPermutation(2, 2, shape=(2,)),
            Echo(2, low=(-1, -2), high=(1, 2)),
            "several numbers within the same bounds",
        ),
        (StickyActions(0.1, shape=(1,)), envs.make("CartPole-v1", 2), "the environment has Disc"),
        (
            ActionPermutation(2, 2, shape=(2,)),
            envs.make("CartPole-v1", 2),
            "the environment has Discrete",
        ),
    ],
)
def test_what_does_not_fit_the_actions_is_refused(change, env, message):
    with pytest.raises(ValueError, match=message):
        NonStationaryVector(env, Periodic(5), [change])


def test_a_shape_that_is_no_vector_of_actions_is_refused():
    with pytest.raises(ValueError, match=r"must be \(\) for discrete actions or \(4,\)"):
        ActionPermutation(4, 2, shape=(2, 2))


def test_a_file_need_not_say_what_the_actions_are():
    content = {
        "environments": "Pendulum-v1",
        "schedule": {"kind": "Cyclic", "period": 64, "tasks": 2},
        "changes": [{"kind": "StickyActions", "probabilities": [0, 0.5]}],
    }
    stream = make_stream(define(content, "mine"), 4, members=2)
    assert stream.changes == (StickyActions((0.0, 0.5), seed=(0, 1), shape=(1,)),)
    content["changes"] = [{"kind": "ActionPermutation"}]
    with pytest.raises(ValueError, match="several numbers within the same bounds"):
        make_stream(define(content, "mine"), 4)


def test_a_drifting_mass_is_the_mass_that_pendulums_have():
    change = Dynamics("m", (1.0, 2.0))
    drifting = NonStationaryVector(envs.make("Pendulum-v1", 2), LinearDrift(20, 2), [change])
    plain = envs.make("Pendulum-v1", 2)
    obs, expected = drifting.reset()[0], plain.reset()[0]
    for step in range(15):
        assert torch.equal(obs, expected)
        plain.set_parameters(m=1.0 + min(2 * step / 20, 1.0))
        torque = torch.full((2, 1), 1.5)
        obs, reward, *_ = drifting.step(torque)
        expected, same, *_ = plain.step(torque)
        assert torch.equal(reward, same)
    assert drifting.env.parameters["m"].tolist() == [2.0, 2.0]
