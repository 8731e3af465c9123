"""Any Gymnasium id on the host: the same episodes as Gymnasium's own, lanes, resuming."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from played import assert_same, play, run

from neoteny.core import rng
from neoteny.envs import HostEnv, TensorEnv, make

IDS = ["CartPole-v1", "Pendulum-v1", "MiniGrid-DoorKey-5x5-v0", "FrozenLake-v1", "Taxi-v4"]


def host(id, num_envs, members=1, **options):
    return make(id, num_envs, members, backend="host", **options)


def sample(env, steps, seed=0):
    env.action_space.seed(seed)
    actions = np.stack([env.action_space.sample() for _ in range(steps)])
    return torch.from_numpy(actions)


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("members", [1, 2])
def test_lanes_play_gymnasiums_own_episodes(id, members):
    env = host(id, 2, members, seed=3, max_steps=23)
    actions = sample(env, 60)
    obs, *columns = run(env, actions)
    keys = rng.lane_keys(env.seeds, 2, "env")
    finished = 0
    for lane, key in enumerate(keys.tolist()):
        single = gymnasium.make(id, max_episode_steps=23)
        episode = 0

        def begin(number, single=single, key=key):
            seed = np.random.SeedSequence([key, number]).generate_state(1)[0]
            return shown(single, single.reset(seed=int(seed))[0])

        assert np.array_equal(begin(0), obs[0, lane].numpy())
        for step, action in enumerate(actions[:, lane].numpy()):
            after, reward, terminated, truncated, _ = single.step(action)
            after = shown(single, after)
            found = [column[step, lane].numpy() for column in columns]
            assert np.array_equal(after, found[4])
            assert np.float32(reward) == found[1]
            assert (terminated, truncated and not terminated) == (found[2], found[3])
            if terminated or truncated:
                episode += 1
                finished += 1
                after = begin(episode)
            assert np.array_equal(after, found[0])
    assert finished >= 2 * members * 2


def shown(env, obs):
    space = env.observation_space
    if isinstance(space, spaces.Dict):
        return obs["image"]
    if isinstance(space, spaces.Discrete):
        return spaces.flatten(space, obs).astype(np.float32)
    return obs


@pytest.mark.parametrize("id", IDS)
def test_saving_resumes_bit_exactly_in_mid_episode(id):
    env = host(id, 2, 2, seed=1, max_steps=17)
    actions = sample(env, 80)
    env.reset()
    play(env, actions[:41])
    saved = env.state_dict()
    rest = play(env, actions[41:])
    resumed = host(id, 2, 2, seed=50, max_steps=17)
    resumed.load_state_dict(saved)
    assert resumed.seeds == (1, 2)
    assert_same(play(resumed, actions[41:]), rest)
    resumed.load_state_dict(saved)
    mask = torch.tensor([True, False, True, False])
    env.load_state_dict(saved)
    assert_same(
        [env.reset(options={"reset_mask": mask})[0]],
        [resumed.reset(options={"reset_mask": mask})[0]],
    )


def test_saving_before_the_first_reset_and_other_shapes():
    env = host("CartPole-v1", 2, seed=6)
    resumed = host("CartPole-v1", 2)
    resumed.load_state_dict(env.state_dict())
    assert torch.equal(resumed.reset()[0], env.reset()[0])
    with pytest.raises(ValueError, match="same num_envs"):
        host("CartPole-v1", 3).load_state_dict(env.state_dict())


def test_saved_state_is_made_of_tensors(tmp_path):
    env = host("Pendulum-v1", 2)
    env.reset()
    env.set_parameters(g=3.0)
    play(env, sample(env, 5))
    torch.save(env.state_dict(), tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    env.load_state_dict(saved)
    assert [len(place["actions"]) for place in saved["places"]] == [5, 5]


def test_actions_are_copied_when_they_are_kept():
    env = host("Pendulum-v1", 1)
    env.reset()
    action = torch.ones(1, 1)
    env.step(action)
    action.fill_(-2)
    assert env.state_dict()["places"][0]["actions"].tolist() == [[1.0]]


@pytest.mark.parametrize("id", ["CartPole-v1", "MiniGrid-Empty-5x5-v0"])
def test_async_equals_sync(id):
    sync = host(id, 2, seed=2, max_steps=9)
    processes = host(id, 2, seed=2, max_steps=9, vectorization="async")
    actions = sample(sync, 30)
    try:
        assert_same(run(processes, actions), run(sync, actions))
        processes.load_state_dict(sync.state_dict())
        more = sample(sync, 15, seed=1)
        assert_same(play(processes, more), play(sync, more))
    finally:
        processes.close()


def test_reset_mask_restarts_those_lanes_alone():
    env = host("CartPole-v1", 4)
    env.reset()
    obs = play(env, sample(env, 3))[0][-1]
    mask = torch.tensor([True, False, False, True])
    masked, _ = env.reset(options={"reset_mask": mask})
    assert torch.equal(masked[~mask], obs[~mask])
    assert (masked[mask] != obs[mask]).any(1).all()
    again, _ = env.reset(options={"reset_mask": torch.zeros(4, dtype=torch.bool)})
    assert torch.equal(again, masked)
    first = env.reset(seed=0)[0]
    assert torch.equal(first, host("CartPole-v1", 4).reset()[0])
    assert not torch.equal(env.reset()[0], first)


def test_truncations_are_bounded_by_the_known_limit():
    # one more than fits in, from a limit on: room for the first episode that ends too early
    assert [host("CartPole-v1", 1).max_truncations(n) for n in (1, 500, 501, 1_000)] == [1, 1, 3, 3]
    assert host("CartPole-v1", 1, max_steps=30).max_truncations(128) == 6
    assert host("MiniGrid-DoorKey-5x5-v0", 1).max_steps == 250
    assert host("MiniGrid-DoorKey-5x5-v0", 1, max_steps=300).max_steps == 250
    assert host("Blackjack-v1", 1).max_truncations(128) == 128
    assert host("CartPole-v1", 1, bounded=False).max_truncations(128) == 128


class Impatient(gymnasium.Env):
    """Truncates by itself after 3 steps; counts its actions from 5."""

    observation_space = spaces.Dict(a=spaces.Box(0, 9, (2,)), b=spaces.Discrete(3))
    action_space = spaces.Discrete(2, start=5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return {"a": np.zeros(2, np.float32), "b": 2}, {}

    def step(self, action):
        self.steps += 1
        obs = {"a": np.full(2, action, np.float32), "b": 1}
        return obs, 0.0, False, self.steps == 3, {}


@pytest.fixture
def impatient():
    gymnasium.register("Impatient-v0", Impatient, max_episode_steps=10)
    yield "Impatient-v0"
    del gymnasium.registry["Impatient-v0"]


def test_episodes_that_end_before_the_limit_take_the_bound_back(impatient):
    env = host(impatient, 1, observation="a")
    env.reset()
    assert env.max_truncations(5) == 1
    assert play(env, torch.zeros(3, 1, dtype=torch.int64))[3].flatten().tolist() == [0, 0, 1]
    assert env.max_truncations(5) == 5
    assert env.max_steps == env.spec.max_episode_steps == 10


def test_more_truncations_than_promised_are_not_hidden(impatient):
    env = host(impatient, 1, observation="a")
    env.reset()
    assert env.max_truncations(7) == 1
    env.step(torch.zeros(1, dtype=torch.int64))
    again = host(impatient, 1, observation="a")
    assert again.max_truncations(0) == 0
    again.reset()
    with pytest.raises(RuntimeError, match=r"after 3 steps.*limit of 10.*bounded=False"):
        play(again, torch.zeros(3, 1, dtype=torch.int64))
    unbounded = host(impatient, 1, observation="a", bounded=False)
    assert unbounded.max_truncations(7) == 7
    truncated = run(unbounded, torch.zeros(7, 1, dtype=torch.int64))[4]
    assert truncated.flatten().tolist() == [False, False, True] * 2 + [False]


def test_dict_observations_and_shifted_actions(impatient):
    entry, flat = host(impatient, 1, observation="a"), host(impatient, 1, flatten=True)
    assert entry.single_action_space == spaces.Discrete(2)
    for env in (entry, flat):
        env.reset()
    one = torch.ones(1, dtype=torch.int64)
    assert entry.step(one)[0].tolist() == [[6.0, 6.0]]
    assert flat.step(one)[0].tolist() == [[6.0, 6.0, 0.0, 1.0, 0.0]]
    with pytest.raises(ValueError, match=r"Dict of \['a', 'b'\].*flatten=True"):
        host(impatient, 1)
    with pytest.raises(ValueError, match="Dict of"):
        host(impatient, 1, observation="c")


def test_minigrid_shows_its_image_flattened_on_request():
    image, flat = (host("MiniGrid-Empty-5x5-v0", 2, flatten=flatten) for flatten in (False, True))
    assert image.single_observation_space == spaces.Box(0, 255, (7, 7, 3), np.uint8)
    assert torch.equal(flat.reset()[0], image.reset()[0].flatten(1))
    direction = host("MiniGrid-Empty-5x5-v0", 1, observation="direction")
    assert direction.reset()[0].tolist() == [[1.0, 0.0, 0.0, 0.0]]
    with pytest.raises(ValueError, match="cannot be flattened"):
        host("MiniGrid-Empty-5x5-v0", 1, observation="mission")


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_parameters_are_per_lane_and_per_member(vectorization):
    env = host("Pendulum-v1", 2, 2, vectorization=vectorization)
    try:
        env.set_parameters(g=[1.0, 2.0])
        assert env.parameters["g"].tolist() == [1.0, 1.0, 2.0, 2.0]
        env.set_parameters(g=9.0, m=torch.arange(4))
        assert env.parameters["g"].tolist() == [9.0] * 4
        assert env.parameters["m"].tolist() == [0.0, 1.0, 2.0, 3.0]
        with pytest.raises(ValueError, match=r"no parameter 'gravity'.*'dt', 'g', 'm', 'l'"):
            env.set_parameters(gravity=1.0)
        with pytest.raises(ValueError, match=r"shape \(3,\).*\(2,\), one a member"):
            env.set_parameters(g=[1, 2, 3])
    finally:
        env.close()


@pytest.mark.parametrize("id", ["CartPole-v1", "MountainCar-v0", "Acrobot-v1", "Pendulum-v1"])
def test_parameters_mean_the_same_on_the_device(id):
    device, host_env = make(id, 3), host(id, 3)
    names = [name for name in device.parameters if (id, name) != ("Acrobot-v1", "gravity")]
    assert set(names) <= set(host_env.parameters)
    values = {name: device.parameters[name] * torch.tensor([1.1, 1.2, 1.3]) for name in names}
    for env in (device, host_env):
        env.reset()
        env.set_parameters(**values)
    for lane, single in enumerate(host_env._envs.envs):
        single.unwrapped.state = device.state["physics"][lane].numpy()
    for action in sample(host_env, 5):
        torch.testing.assert_close(host_env.step(action)[0], device.step(action)[0])


def test_a_drift_within_the_episode_is_resumed_bit_exactly():
    env = host("Pendulum-v1", 2)
    env.set_parameters(l=0.8)
    env.reset()
    for step, action in enumerate(sample(env, 20)):
        env.set_parameters(g=10.0 + step)
        env.step(action)
    resumed = host("Pendulum-v1", 2)
    resumed.load_state_dict(env.state_dict())
    for name, value in env.parameters.items():
        assert torch.equal(resumed.parameters[name], value)
    more = sample(env, 20, seed=1)
    assert_same(play(resumed, more), play(env, more))
    resumed.load_state_dict(env.state_dict())
    assert_same(play(resumed, more), play(env, more))


def test_host_and_device_agree_on_what_they_are():
    device, host_env = make("CartPole", 2, 3, seed=4), host("CartPole", 2, 3, seed=4)
    assert isinstance(device, TensorEnv)
    assert isinstance(host_env, HostEnv)
    for name in ("num_envs", "members", "lanes", "seeds", "device", "max_steps"):
        assert getattr(device, name) == getattr(host_env, name)
    assert device.observation_space == host_env.observation_space
    assert device.action_space == host_env.action_space
    assert host_env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    for left, right in zip(
        (device.reset()[0], *device.step(torch.zeros(6, dtype=torch.int64))[:4]),
        (host_env.reset()[0], *host_env.step(torch.zeros(6, dtype=torch.int64))[:4]),
        strict=True,
    ):
        assert (left.shape, left.dtype) == (right.shape, right.dtype)


def test_frames_come_from_the_environments():
    pytest.importorskip("pygame")
    env = host("CartPole-v1", 2, render_mode="rgb_array")
    env.reset()
    frames = env.render()
    assert len(frames) == 2
    assert frames[0].shape == (400, 600, 3)
    assert host("CartPole-v1", 1).render() is None
