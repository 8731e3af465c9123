"""Lanes that several processes play together are those of one process, bit for bit."""

import pytest
import torch
from together import together

from neoteny import envs
from neoteny.core.errors import InputError
from neoteny.core.ranks import Ranks
from neoteny.envs.shared_lanes import SharedLanes

LANES, MEMBERS, STEPS = 6, 2, 12
IDS = ["MinAtar-Breakout", "MinAtar-Freeway", "MiniGrid-Empty-5x5", "CartPole", "Pendulum"]


def shared(id, ranks, **options):
    def make(lanes):
        return envs.make(id, lanes, MEMBERS, seed=5, **options)

    return SharedLanes(make, LANES, ranks)


def actions_for(env, step):
    g = torch.Generator().manual_seed(step)
    if env.single_action_space.shape:
        return torch.rand(env.num_envs, *env.single_action_space.shape, generator=g)
    return torch.randint(int(env.single_action_space.n), (env.num_envs,), generator=g)


def played(env):
    """Everything that an environment returns, in a list of tensors."""
    found = [env.reset()[0].clone()]
    for step in range(STEPS):
        if step == 7:
            mask = torch.arange(env.num_envs) % 3 == 0
            found.append(env.reset(options={"reset_mask": mask})[0].clone())
        *outcome, info = env.step(actions_for(env, step))
        found += [value.clone() for value in (*outcome, info["final_obs"])]
    return found


@pytest.mark.parametrize("id", IDS)
def test_every_process_sees_all_lanes_as_one_process_has_them(id):
    options = {"max_steps": 5}
    whole = envs.make(id, LANES, MEMBERS, seed=5, **options)
    expected, state = played(whole), whole.state_dict()

    def act(ranks):
        env = shared(id, ranks, **options)
        return env, played(env), env.state_dict(), env.max_truncations(4)

    for env, found, saved, most in together(2, act):
        assert (env.lanes, env.num_envs, env.members) == (LANES, LANES * MEMBERS, MEMBERS)
        assert env.seeds == whole.seeds
        assert most == whole.max_truncations(4)
        for one, wanted in zip(found, expected, strict=True):
            assert torch.equal(one, wanted)
        assert saved.keys() == state.keys()
        for name, wanted in state.items():
            assert torch.equal(saved[name], wanted), name


def test_a_state_of_one_process_goes_on_in_three_and_back():
    whole = envs.make("MinAtar-Asterix", LANES, MEMBERS, seed=5)
    played(whole)
    state = whole.state_dict()
    expected = [whole.step(actions_for(whole, step))[0] for step in range(3)]

    def act(ranks):
        env = shared("MinAtar-Asterix", ranks)
        env.load_state_dict(state)
        return [env.step(actions_for(env, step))[0] for step in range(3)], env.state_dict()

    found, saved = together(3, act)[2]
    for one, wanted in zip(found, expected, strict=True):
        assert torch.equal(one, wanted)
    again = envs.make("MinAtar-Asterix", LANES, MEMBERS, seed=9)
    again.load_state_dict(saved)
    assert torch.equal(again.step(actions_for(again, 3))[0], whole.step(actions_for(whole, 3))[0])


def test_parameters_of_lanes_members_and_all_reach_their_lanes():
    values = [0.3, [0.4, 0.8], torch.linspace(0.1, 1.2, LANES * MEMBERS)]
    for value in values:
        whole = envs.make("CartPole", LANES, MEMBERS, seed=5)
        whole.set_parameters(length=value)
        expected = played(whole)

        def act(ranks, value=value):
            env = shared("CartPole", ranks)
            env.set_parameters(length=value)
            assert "length" in env.parameters
            return played(env)

        for one, wanted in zip(together(2, act)[1], expected, strict=True):
            assert torch.equal(one, wanted)
    assert not hasattr(shared("MinAtar-Breakout", Ranks(0, 2)), "set_parameters")


def test_environments_of_the_host_are_refused():
    with pytest.raises(InputError, match="stepped by the host, whose lanes processes cannot share"):
        shared("CartPole-v1", Ranks(0, 2), backend="host")
