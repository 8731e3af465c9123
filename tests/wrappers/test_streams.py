import numpy as np
import pytest
import torch

from neoteny import envs
from neoteny.core.errors import InputError
from neoteny.wrappers import (
    STREAMS,
    Cyclic,
    EpisodeStatistics,
    NonStationaryVector,
    TaskSwitch,
    make_stream,
)
from neoteny.wrappers.named_streams import GAMES, paper_channel_order
from neoteny.wrappers.streams import resolve
from neoteny.wrappers.taskswitch import visit_seed

MINIMAL = {"Breakout": 3, "Asterix": 5, "SpaceInvaders": 4, "Freeway": 3}


def continual(members=8, num_envs=2, seed=26, task_steps=32, **options):
    return make_stream(
        "minatar-continual", num_envs, members, seed=seed, task_steps=task_steps, **options
    )


def played(env, step):
    return [env.task_names[task] for task in env.tasks_at(step)]


def test_the_published_orders():
    env = continual()
    first = "SpaceInvaders Freeway Asterix Freeway Breakout Asterix SpaceInvaders Breakout"
    assert played(env, 0) == first.split()
    seed_26 = [played(env, 32 * visit)[0] for visit in range(4)]
    assert seed_26 == ["SpaceInvaders", "Freeway", "Asterix", "Breakout"]
    for member, seed in enumerate(range(26, 34)):
        for cycle in range(20):
            order = np.random.default_rng(seed + 7919 * cycle).permutation(list(GAMES))
            got = [played(env, 32 * (4 * cycle + k))[member] for k in range(4)]
            assert got == order.tolist()


def test_the_paper_runs_80_tasks_of_58_iterations():
    env = continual(members=1, num_envs=2, task_steps=None, steps_per_iteration=262_144)
    period = 58 * 262_144
    assert env.boundaries(80 * period) == [period * k for k in range(1, 80)]
    assert env.tasks_at(80 * period) == env.tasks_at(0)


def test_observations_are_padded_and_shuffled_by_the_published_formula():
    seeds = [26, 31]
    shuffled = continual(members=2, seed=seeds)
    plain = continual(members=2, seed=seeds, permute=False)
    seen = [shuffled.reset()[0].numpy()]
    expected = [plain.reset()[0].numpy()]
    actions = torch.from_numpy(np.random.default_rng(0).integers(6, size=(16 * 6, 4)))
    for action in actions:
        seen.append(shuffled.step(action)[0].numpy())
        expected.append(plain.step(action)[0].numpy())
    assert seen[0].shape == (4, 10, 10, 10)
    for step, (obs, padded) in enumerate(zip(seen, expected, strict=True)):
        visit = step // 16  # the observation after the boundary is of the new visit
        for member, seed in enumerate(seeds):
            game = shuffled.tasks_at(2 * step)[member]
            key = seed * 10_000 + game * 100 + visit // 4
            perm = np.random.default_rng(key).permutation(10)
            assert paper_channel_order(seed, game, visit // 4).tolist() == perm.tolist()
            lanes = slice(2 * member, 2 * member + 2)
            np.testing.assert_array_equal(obs[lanes], padded[lanes][..., perm])
            channels = {"Breakout": 4, "Asterix": 4, "SpaceInvaders": 6, "Freeway": 7}
            assert not padded[lanes][..., channels[GAMES[game]] :].any()


@pytest.mark.parametrize("game", GAMES)
def test_paper_actions_are_the_minimal_set_and_nothing_past_it(game):
    one = {"games": [game], "permute": False, "cycles": 1, "task_steps": 10_000}
    stream = continual(members=1, num_envs=16, seed=0, **one)
    native = continual(members=1, num_envs=16, seed=0, action_mode="native", **one)
    reference = envs.make(
        f"MinAtar-{game}-v1", 16, seed=[visit_seed(0, 0)], sticky=0.0, channels=10
    )
    keys = envs.make(f"MinAtar-{game}", 16, seed=[visit_seed(0, 0)], sticky=0.0, channels=10)
    for env in (stream, native, reference, keys):
        env.reset()
    generator = np.random.default_rng(1)
    for _ in range(15):
        action = torch.from_numpy(generator.integers(6, size=16))
        valid = torch.where(action < MINIMAL[game], action, 0)
        got, expected = stream.step(action), reference.step(valid)
        direct, plain = native.step(action), keys.step(action)
        for k in range(4):
            assert torch.equal(got[k], expected[k])
            assert torch.equal(direct[k], plain[k])


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        pytest.param({}, 2_500, marks=pytest.mark.slow),
        ({"max_steps": 40}, 40),
        pytest.param({"max_steps": None}, 2_501, marks=pytest.mark.slow),
    ],
)
def test_freeway_stops_at_its_limit(options, limit):
    """By truncation at gymnax's 2,500 steps or one's own, else by MinAtar's clock."""
    env = continual(members=1, num_envs=2, games="Freeway", task_steps=10_000, **options)
    env.reset()
    action = torch.zeros(2, dtype=torch.int64)
    flags = [env.step(action)[2:4] for _ in range(limit)]
    ended = [bool((terminated | truncated).any()) for terminated, truncated in flags]
    assert ended.index(True) == limit - 1
    assert flags[-1][1].all() == (limit != 2_501)


def test_the_other_games_stop_after_1000_steps():
    env = continual(num_envs=2, games=["Breakout", "Asterix", "SpaceInvaders"], task_steps=10**6)
    env.reset()
    assert env.max_truncations(1_000) == 1
    assert env.max_truncations(1_001) == 2


@pytest.mark.parametrize("name", [*STREAMS, "MinAtar-Breakout"])
@pytest.mark.parametrize("at", [7, pytest.param(16, marks=pytest.mark.slow)])
def test_every_stream_resumes_exactly(toy, name, at):
    """In the middle of a task, and at a switch."""

    def build():
        env = EpisodeStatistics(make_stream(name, 2, 2, seed=3, task_steps=32))
        env.reset()
        return env

    straight, resumed = build(), build()
    toy.record(straight, at, actions=6)
    resumed.load_state_dict(straight.state_dict())
    expected, got = (toy.record(env, 12, actions=6, seed=1) for env in (straight, resumed))
    for key, value in vars(expected).items():
        np.testing.assert_array_equal(value, getattr(got, key))
    one, two = straight.collect(), resumed.collect()
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=0, atol=0, equal_nan=True)


def test_permute_shuffles_the_channels_of_each_member():
    seeds = [5, 9]
    env = make_stream("minatar-permute", 3, 2, seed=seeds, task_steps=24, tasks=3)
    plain = NonStationaryVector(envs.make("MinAtar-Breakout", 3, 2, seed=seeds), Cyclic(24, 3))
    assert env.task_names == ["Breakout", "Breakout channels 1", "Breakout channels 2"]
    obs, raw = env.reset()[0], plain.reset()[0]
    generator = np.random.default_rng(0)
    for step in range(60):
        task = step // 8 % 3
        for member, seed in enumerate(seeds):
            order = np.random.default_rng([seed, task]).permutation(4) if task else np.arange(4)
            lanes = slice(3 * member, 3 * member + 3)
            assert torch.equal(obs[lanes], raw[lanes][..., order])
        action = torch.from_numpy(generator.integers(6, size=6))
        obs, raw = env.step(action)[0], plain.step(action)[0]


def test_reward_flip_negates_every_other_task():
    env = make_stream("minatar-reward-flip", 16, 1, task_steps=16 * 50, game="Asterix")
    env.reset()
    generator = np.random.default_rng(0)
    sums = [0.0, 0.0]
    for step in range(400):
        reward = env.step(torch.from_numpy(generator.integers(6, size=16)))[1]
        flipped = step // 50 % 2
        assert (reward <= 0 if flipped else reward >= 0).all()
        sums[flipped] += reward.sum().item()
    assert sums[0] > 0 > sums[1]


def test_five_games_come_once_a_cycle_in_each_members_own_order():
    env = make_stream("minatar-five", 2, 3, seed=4, task_steps=20)
    assert env.task_names == [*GAMES, "Seaquest"]
    for member, seed in enumerate((4, 5, 6)):
        for cycle in range(3):
            order = np.random.default_rng(seed + 7919 * cycle).permutation(5).tolist()
            assert [env.tasks_at(100 * cycle + 20 * k)[member] for k in range(5)] == order
    assert env.single_observation_space.shape == (10, 10, 10)


def test_doors_are_a_chain_of_worlds_with_one_view():
    env = make_stream("minigrid-doors", 3, 2, task_steps=30)
    assert env.boundaries(151) == [30, 60, 90, 120, 150]
    assert env.tasks_at(90) == [3, 3]
    assert env.single_observation_space.shape == (7, 7, 24)
    assert env.single_action_space.n == 7


def test_a_flipped_goal_is_another_word_and_nothing_else():
    seeds = [5, 9]
    env = make_stream("minigrid-goal-flip", 3, 2, seed=seeds, task_steps=24)
    name, options = "MiniGrid-GoToDoor-5x5", {"encoding": "onehot"}
    plain = NonStationaryVector(envs.make(name, 3, 2, seed=seeds, **options), Cyclic(24, 2))
    obs, raw = env.reset()[0], plain.reset()[0]
    generator = np.random.default_rng(0)
    for step in range(40):
        flipped = step // 8 % 2 == 1
        assert torch.equal(obs[..., :24], raw[..., :24])
        for member, seed in enumerate(seeds):
            order = np.random.default_rng([seed, 1]).permutation(6) if flipped else np.arange(6)
            lanes = slice(3 * member, 3 * member + 3)
            assert torch.equal(obs[lanes][..., 24:], raw[lanes][..., 24:][..., order])
        action = torch.from_numpy(generator.integers(7, size=6))
        ours, theirs = env.step(action), plain.step(action)
        obs, raw = ours[0], theirs[0]
        assert torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("course", ["sinusoidal", "linear"])
def test_the_pole_drifts_as_its_schedule_says(course):
    env = make_stream("cartpole-drift", 4, 2, task_steps=800, course=course)
    env.reset()
    action = torch.zeros(8, dtype=torch.int64)
    for step in range(1, 150):
        truncated = env.step(action)[3]
        assert not truncated.any()
        phase = (1 - np.cos(np.pi * step / 100)) / 2 if course == "sinusoidal" else step / 200
        length = env.unwrapped.parameters["length"]
        assert torch.equal(length, length[:1].expand(8))
        np.testing.assert_allclose(length[0].item(), 0.5 + 2.5 * phase, atol=5e-3)
    assert env.boundaries(10**6) == []
    assert env.tasks_at(500) == [0, 0]


def test_permuted_cartpole_shows_its_four_numbers_in_another_order():
    env = make_stream("cartpole-permute", 2, 1, seed=3, task_steps=20)
    plain = NonStationaryVector(envs.make("CartPole-v1", 2, seed=3), Cyclic(20, 20))
    obs, raw = env.reset()[0], plain.reset()[0]
    for step in range(60):
        task = step // 10
        order = np.random.default_rng([3, task]).permutation(4) if task else np.arange(4)
        assert torch.equal(obs, raw[..., order])
        action = torch.tensor([step % 2, 1])
        obs, raw = env.step(action)[0], plain.step(action)[0]


@pytest.mark.parametrize("name", ["MinAtar-Breakout", "Pendulum-v1"])
def test_debugging_refuses_actions_out_of_range(name):
    env = make_stream(name, 2, 2, debug=True)
    env.reset()
    fine = torch.zeros((4, *env.single_action_space.shape), dtype=torch.int64)
    env.step(fine)
    for bad in (-3, 6):
        actions = fine.clone()
        actions[2] = bad
        with pytest.raises(ValueError, match=r"action \[?-?\d\]? in lane 2 is out of range"):
            env.step(actions)


def test_an_environment_id_is_a_stream_of_one_task():
    env = make_stream("neoteny/MinAtar-Freeway-v1", 2, 3, max_steps=100)
    assert env.task_names == ["neoteny/MinAtar-Freeway-v1"]
    assert env.boundaries(10**9) == []
    assert env.tasks_at(10**9) == [0, 0, 0]
    assert env.max_truncations(250) == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("name", [*STREAMS, "MinAtar-Breakout"])
def test_a_missing_device_is_refused(name):
    with pytest.raises(ValueError, match="use device='cpu'"):
        make_stream(name, 2, device="cuda")


def test_a_builder_that_returns_no_stream_is_named(own_names):
    @STREAMS.register("forgotten")
    def forgotten(context):
        """A stream whose `return` was forgotten."""

    with pytest.raises(InputError, match="stream 'forgotten' returns None: return an environment"):
        make_stream("forgotten", num_envs=2)


def test_every_stream_says_what_it_stresses():
    assert all("Stresses" in builder.__doc__ for builder in STREAMS.values())
    assert isinstance(continual(members=1), TaskSwitch)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "minatar-continuous"}, "did you mean 'minatar-continual'"),
        ({"name": "MinAtar-Brekout"}, "did you mean 'neoteny/MinAtar-Breakout-v"),
        ({"task_steps": 0}, "task_steps is 0: it must be at least 1"),
        ({"steps_per_iteration": -1}, "steps_per_iteration is -1: it must be at least 1"),
        ({"stickyness": 0.1}, "has no option 'stickyness'"),
        ({"games": ["Pong"]}, r"games \['Pong'\]"),
        ({"action_mode": "all"}, "action_mode is 'all': it must be one of paper, native"),
        ({"name": "minatar-permute", "stickyness": 0.1}, "has no option 'stickyness'"),
        ({"members": 2, "seed": [1]}, "1 seeds for 2 members"),
        ({"num_envs": 0}, "num_envs 0"),
        ({"name": "minatar-five", "games": "Pong"}, r"games \['Pong'\]"),
        ({"name": "minigrid-doors", "worlds": ["Door"]}, "unknown environment"),
        ({"name": "minigrid-doors", "worlds": ["Empty-5x5", "GoToDoor-5x5"]}, "has observations"),
        ({"name": "minigrid-goal-flip", "world": "Empty-5x5"}, "has no goal in words"),
        ({"name": "cartpole-drift", "parameter": "mass"}, "CartPole lacks; its parameters are"),
        ({"permute": "perhaps"}, "permute is 'perhaps': it must be true or false"),
        ({"sticky": float("nan")}, "sticky is nan: it must be a finite number"),
        ({"name": "cartpole-permute", "tasks": 10**9}, "tasks is 1000000000: it must be from 1 to"),
        ({"name": "minatar-five", "channels": 4}, "option 'channels' is fixed by the stream"),
        ({"name": "minigrid-goal-flip", "encoding": "image"}, "'encoding' is fixed by the stream"),
        ({"name": "cartpole-permute", "make": 1}, "option 'make' is none of the environment's"),
        ({"name": "Pong"}, "see `list streams` and `list envs`"),
        ({"name": "My/Line-v0"}, "as in --plugin my_envs.py or --env my_envs:My/Line-v0"),
        ({"name": "cartpole"}, "did you mean 'neoteny/CartPole-v1'"),
        ({"name": "cartpole-drift", "course": "zigzag"}, "must be one of sinusoidal, linear"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_stream(**{"name": "minatar-continual", "num_envs": 2} | arguments)


@pytest.mark.parametrize("name", ["ALE/Pong-v9", "PongNoFrameskip-v9"])
@pytest.mark.parametrize("found", [None, "installed"])
def test_the_package_of_ataris_games_is_named_where_it_is_missing(name, found, monkeypatch):
    monkeypatch.setattr("neoteny.wrappers.streams.find_spec", lambda _: found)
    with pytest.raises(InputError) as error:
        resolve(name)
    assert ("`pip install ale-py` brings Atari's games" in str(error.value)) == (found is None)
