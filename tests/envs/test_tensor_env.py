"""Promises of every TensorEnv: lanes, members, resets, truncation and resuming."""

from functools import cache

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from host_calls import no_waits
from played import assert_same, play, run

from neoteny.envs import make, minatar
from neoteny.envs.classic import PROBLEMS

GAMES = [f"MinAtar-{name}" for name in minatar.GAMES]
GRIDS = [
    f"MiniGrid-{name}"
    for name in ("FourRooms", "DoorKey-8x8", "Dynamic-Obstacles-6x6", "KeyCorridorS3R3")
]
IDS = [*GAMES, *PROBLEMS, *GRIDS]
SLOW = {*GRIDS[2:], "Acrobot-v1", "CartPole-v0", "MountainCar-v0"}
EACH = [pytest.param(id, marks=pytest.mark.slow if id in SLOW else ()) for id in IDS]


@cache
def action_space(id):
    return make(id, 1).single_action_space


def actions(lanes, steps, seed=0, id=GAMES[0]):
    generator = torch.Generator().manual_seed(seed)
    space = action_space(id)
    if isinstance(space, gymnasium.spaces.Discrete):
        return torch.randint(0, int(space.n), (steps, lanes), generator=generator)
    return torch.rand(steps, lanes, *space.shape, generator=generator) * 2 - 1


def member_options(id, members):
    """Options by which members differ: for all together, for each alone, and before they are."""
    if id in GAMES:
        orders = np.stack([np.random.default_rng(m).permutation(10) for m in range(members)])
        shape = {"channels": 10}
        alone = [shape | {"channel_order": order} for order in orders]
        return shape | {"channel_order": orders}, alone, shape
    if id in GRIDS:
        return {}, [{}] * members, {}
    name, usual = next(iter(PROBLEMS[id][0].defaults.items()))
    values = [usual * (1 + member / 4) for member in range(members)]
    alone = [{"parameters": {name: value}} for value in values]
    return {"parameters": {name: values}}, alone, {}


@pytest.mark.parametrize("id", EACH)
def test_lanes_of_members_equal_those_of_separate_smaller_environments(id):
    sequence = actions(2 * 9, 12, id=id)
    options, own, _ = member_options(id, 2)
    together = run(make(id, 9, 2, seed=7, max_steps=9, **options), sequence)
    for member in range(2):
        alone = make(id, 4, seed=7 + member, max_steps=9, **own[member])
        lanes = slice(9 * member, 9 * member + 4)
        assert_same([column[:, lanes] for column in together], run(alone, sequence[:, lanes]))


@pytest.mark.parametrize("id", EACH)
def test_same_seed_repeats_and_another_differs(id):
    sequence = actions(16, 8, id=id)
    env = make(id, 16, seed=3)
    first = run(env, sequence)
    again = [*[column.clone() for column in first]]
    obs, _ = env.reset(seed=3)
    assert torch.equal(obs, first[0][0])
    assert_same(play(env, sequence), again[1:])
    other = run(make(id, 16, seed=4), sequence)
    assert not torch.equal(other[1], first[1])


def test_reset_without_a_seed_draws_anew_and_deterministically():
    first, second = make("MinAtar-Freeway", 4), make("MinAtar-Freeway", 4)
    for env in (first, second):
        env.reset()
    before = first.state["car_speed"].clone()
    assert torch.equal(first.reset()[0], second.reset()[0])
    assert not torch.equal(first.state["car_speed"], before)


@pytest.mark.parametrize("id", EACH)
def test_reset_mask_restarts_those_lanes_alone(id):
    env = make(id, 6)
    first, _ = env.reset(options={"reset_mask": torch.zeros(6, dtype=torch.bool)})
    assert torch.equal(first, make(id, 6).reset()[0])
    for action in actions(6, 5, id=id):
        obs = env.step(action)[0]
    before = env.state_dict()
    mask = torch.tensor([True, False] * 3)
    masked, _ = env.reset(options={"reset_mask": mask})
    assert torch.equal(masked[~mask], obs[~mask])
    for name, value in env.state.items():
        assert torch.equal(value[~mask], before[name][~mask])
    env.load_state_dict(before)
    whole, _ = env.reset()
    assert torch.equal(masked[mask], whole[mask])
    with pytest.raises(ValueError, match=r"shape \(2,\), expected \(6,\)"):
        env.reset(options={"reset_mask": [True, False]})


def test_seeds_are_taken_per_member():
    assert make(GAMES[0], 2, 3, seed=5).seeds == (5, 6, 7)
    env = make(GAMES[0], 2, 3, seed=[9, 1, 4])
    assert env.seeds == (9, 1, 4)
    env.reset(seed=20)
    assert env.seeds == (20, 21, 22)


@pytest.mark.parametrize("id", EACH)
def test_state_dict_resumes_bit_exactly_in_mid_episode(id):
    sequence = actions(2 * 16, 18, id=id)
    options, _, before = member_options(id, 2)
    env = make(id, 16, 2, seed=1, max_steps=7, **options)
    env.reset()
    play(env, sequence[:10])
    saved = env.state_dict()
    rest = play(env, sequence[10:])
    resumed = make(id, 16, 2, seed=99, max_steps=7, **before)
    resumed.load_state_dict(saved)
    assert resumed.seeds == env.seeds
    assert_same(play(resumed, sequence[10:]), rest)
    assert_same(resumed.state.values(), [env.state[name] for name in resumed.state])


@pytest.mark.parametrize("id", EACH)
def test_same_step_autoreset_returns_both_observations(id):
    env = make(id, 32, seed=1, max_steps=16)
    env.reset()
    finished = 0
    for action in actions(32, 17, id=id):
        obs, _, terminated, truncated, info = env.step(action)
        done = terminated | truncated
        finished += int(done.sum())
        assert torch.equal(obs[~done], info["final_obs"][~done])
        assert (env.state["elapsed"][done] == 0).all()
        assert (env.state["elapsed"][~done] > 0).all()
        assert (obs[done] != info["final_obs"][done]).flatten(1).any(1).all()
    assert finished >= 32


def test_max_steps_truncates_and_leaves_terminations_alone():
    env = make("MinAtar-Freeway", 3, max_steps=40)
    env.reset()
    for step in range(1, 121):
        _, _, terminated, truncated, info = env.step(torch.full((3,), 2))
        assert truncated.tolist() == [step % 40 == 0] * 3
        assert not terminated.any()
        assert info["final_obs"].shape == (3, 10, 10, 7)
    env = make("MinAtar-SpaceInvaders", 1, max_steps=17, sticky=0.0)
    env.reset()
    for step in range(1, 18):
        _, _, terminated, truncated, _ = env.step(torch.zeros(1, dtype=torch.int64))
        # Standing still dies at step 17, which is also the limit.
        assert bool(terminated) == (step == 17)
        assert not truncated.any()


def test_max_truncations_bounds_what_happens():
    assert make(GAMES[0], 1).max_truncations(128) == 0
    env = make("MinAtar-Freeway", 2, max_steps=30)
    assert [env.max_truncations(horizon) for horizon in (1, 30, 31, 128)] == [1, 1, 2, 5]


def test_last_action_survives_a_reset_but_not_reseeding():
    env = make("MinAtar-Breakout", 4)
    env.reset()
    env.step(torch.full((4,), 3))
    held = env.state["last_action"].clone()
    env.reset()
    assert torch.equal(env.state["last_action"], held)
    env.reset(seed=0)
    assert not env.state["last_action"].any()


@pytest.mark.parametrize("id", GAMES)
def test_channels_are_padded_and_ordered_as_by_numpy(id):
    sequence = actions(2 * 8, 15)
    orders = np.stack([np.random.default_rng(m).permutation(12) for m in range(2)])
    plain = run(make(id, 8, 2), sequence)
    shown = run(make(id, 8, 2, channels=12, channel_order=orders), sequence)
    for native, obs in ((plain[0], shown[0]), (plain[1], shown[1]), (plain[-1], shown[-1])):
        native, obs = native.numpy(), obs.numpy()
        width = [(0, 0)] * 4 + [(0, 12 - native.shape[-1])]
        padded = np.pad(native, width)
        for member in range(2):
            lanes = slice(8 * member, 8 * member + 8)
            np.testing.assert_array_equal(obs[:, lanes], padded[:, lanes][..., orders[member]])
    assert_same(plain[2:5], shown[2:5])


def test_channel_order_can_change_while_running():
    env, plain = make("MinAtar-Asterix", 4), make("MinAtar-Asterix", 4)
    env.reset(), plain.reset()
    order = torch.tensor([2, 0, 3, 1])
    for step, action in enumerate(actions(4, 30)):
        if step == 10:
            env.set_channel_order(order)
        if step == 20:
            env.set_channel_order(None)
        expected = plain.step(action)[0]
        expected = expected[..., order] if 10 <= step < 20 else expected
        assert torch.equal(env.step(action)[0], expected)


def test_returned_tensors_are_not_overwritten_by_later_steps():
    env = make("MinAtar-Breakout", 8)
    first, _ = env.reset()
    copy = first.clone()
    play(env, actions(8, 10))
    assert torch.equal(first, copy)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make("MinAtar-Brekout", 1), "did you mean 'MinAtar-Breakout-v"),
        (lambda: make("Pong", 1), r"registered\(\) lists"),
        (lambda: make(GAMES[0], 1, stiky=0.1), r"no option 'stiky'.*'sticky'"),
        (lambda: make(GAMES[0] + "-v1", 1, minimal_actions=False), "minimal_actions"),
        (lambda: make(GAMES[0], 0), "num_envs is 0"),
        (lambda: make(GAMES[0], 1, members=-1), "members is -1"),
        (lambda: make(GAMES[0], 1, max_steps=0), "max_steps is 0"),
        (lambda: make(GAMES[0], 1, 2, seed=[1, 2, 3]), "3 seeds for 2 members"),
        (lambda: make(GAMES[0], 1, seed=-1), "seed -1"),
        (lambda: make(GAMES[0], 1, sticky=1.5), "sticky is 1.5"),
        (lambda: make(GAMES[0], 1, channels=3), "at least 4"),
        (lambda: make(GAMES[0], 1, channel_order=np.zeros(4)), "not a permutation"),
        (lambda: make(GAMES[0], 1, channel_order=np.arange(5)), r"shape \(5,\)"),
        (lambda: make(GAMES[0], 1, render_mode="human"), "render_mode is 'human'"),
        (lambda: make(GAMES[0], 1).reset(options={"speed": 1}), "speed"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_missing_cuda_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ValueError, match="use device='cpu'"):
        make(GAMES[0], 1, device="cuda")


def test_wrong_use_of_step_and_state_is_refused():
    env = make(GAMES[0], 4)
    with pytest.raises(ResetNeeded):
        env.step(torch.zeros(4, dtype=torch.int64))
    env.reset()
    with pytest.raises(ValueError, match=r"shape \(3,\), expected \(4,\)"):
        env.step(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="same num_envs"):
        make(GAMES[0], 5).load_state_dict(env.state_dict())
    with pytest.raises(ValueError, match="expected"):
        make(GAMES[1], 4).load_state_dict(env.state_dict())


# One game; the others are as slow to trace.
@pytest.mark.parametrize(
    "id", [GAMES[0], *(pytest.param(id, marks=pytest.mark.slow) for id in IDS if id != GAMES[0])]
)
def test_a_step_is_one_graph_without_host_reads(id):
    torch.compiler.reset()  # its limit of recompilations counts all tests together
    env, traced = make(id, 16, max_steps=9), make(id, 16, max_steps=9)
    options = {"backend": "eager", "fullgraph": True, "dynamic": False}
    traced._advance = torch.compile(traced._advance, **options)
    traced._observe = torch.compile(traced._observe, **options)
    sequence = actions(16, 12, id=id)
    assert_same(run(env, sequence), run(traced, sequence))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("id", GAMES)
def test_compiled_step_equals_eager(id):
    torch.compiler.reset()
    env, compiled = make(id, 16, max_steps=40), make(id, 16, max_steps=40)
    compiled._advance = torch.compile(compiled._advance, fullgraph=True, dynamic=False)
    sequence = actions(16, 100)
    assert_same(run(env, sequence), run(compiled, sequence))


@pytest.mark.gpu
@pytest.mark.parametrize("id", GAMES)
def test_cuda_equals_cpu_without_waiting_for_the_device(id):
    sequence = actions(2 * 64, 300)
    options = {"members": 2, "max_steps": 100, "channels": 10}
    expected = run(make(id, 64, **options), sequence)
    env = make(id, 64, device="cuda", **options)
    obs, _ = env.reset()
    on_device = sequence.cuda()
    with no_waits():
        found = play(env, on_device)
    assert torch.equal(obs.cpu(), expected[0][0])
    assert_same([column.cpu() for column in found], expected[1:])
