"""`gymnasium.make_vec` of our ids is what it is of Gymnasium's own, and its wrappers take it."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector as wrappers

from neoteny import envs
from neoteny.core.errors import InputError

IDS = ["CartPole-v1", "Pendulum-v1", "MinAtar-Asterix-v1", "MiniGrid-Empty-5x5-v0"]
LIMIT = 12


def vector(id, num_envs=3, **options):
    return gymnasium.make_vec(f"neoteny/{id}", num_envs, max_episode_steps=LIMIT, **options)


def play(env, steps=3 * LIMIT, seed=0):
    """Returns of a reset and of steps under sampled actions."""
    found = [env.reset(seed=seed)]
    env.action_space.seed(0)
    return found + [env.step(env.action_space.sample()) for _ in range(steps)]


@pytest.mark.parametrize("id", IDS)
def test_one_lane_is_gymnasiums_vector_of_the_single_environment(id):
    """Observations, rewards, ends, restarts, infos and frames, of the same episodes."""
    ours = vector(id, 1, render_mode="rgb_array")
    single = {"max_episode_steps": LIMIT, "render_mode": "rgb_array"}
    theirs = SyncVectorEnv([lambda: gymnasium.make(f"neoteny/{id}", **single)])
    assert ours.metadata["autoreset_mode"] is theirs.metadata["autoreset_mode"]
    assert ours.observation_space == theirs.observation_space
    ended = 0
    for row, expected in zip(play(ours), play(theirs), strict=True):
        for value, other in zip(row[:-1], expected[:-1], strict=True):
            assert type(value) is np.ndarray
            np.testing.assert_array_equal(value, other, strict=value.dtype != np.float32)
        assert {k: v.tolist() for k, v in row[-1].items()} == {
            k: v.tolist() for k, v in expected[-1].items()
        }
        ended += len(row) == 5 and bool(row[2] | row[3])
    assert ended >= 2
    np.testing.assert_array_equal(ours.render()[0], theirs.render()[0])


@pytest.mark.parametrize("id", IDS)
def test_lanes_play_the_episodes_that_tensors_play(id):
    """Without the steps that restart, NEXT_STEP returns what SAME_STEP returns."""
    arrays, tensors = vector(id, 4, members=2), envs.make(id, 4, 2, max_steps=LIMIT)
    actions = np.stack([tensors.single_action_space.sample() for _ in range(8)])
    seen, expected = (
        [[env.reset(seed=5)[0][lane]] for lane in range(8)] for env in (arrays, tensors)
    )
    ended = np.zeros(8, bool)
    for _ in range(3 * LIMIT + 3):
        obs, reward, terminated, truncated, _ = arrays.step(actions)
        for lane in np.flatnonzero(ended):
            assert reward[lane] == 0
            assert not terminated[lane] | truncated[lane]
            seen[lane][-1] = obs[lane]  # in place of the last of the episode before
        for lane in np.flatnonzero(~ended):
            seen[lane] += [(reward[lane], terminated[lane], truncated[lane]), obs[lane]]
        ended = (terminated | truncated) & ~ended
    for _ in range(3 * LIMIT):
        obs, *outcome, _ = tensors.step(torch.from_numpy(actions))
        for lane in range(8):
            expected[lane] += [tuple(value[lane] for value in outcome), obs[lane]]
    for lane in range(8):
        for one, other in zip(seen[lane][: 2 * 3 * LIMIT], expected[lane], strict=False):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def to_floats(env):
    return wrappers.DtypeObservation(env, np.float32)


WRAPPERS = {
    "ClipReward": lambda env: wrappers.ClipReward(env, 0, 0.5),
    "DictInfoToList": wrappers.DictInfoToList,
    "DtypeObservation": to_floats,
    "FlattenObservation": wrappers.FlattenObservation,
    "NormalizeObservation": lambda env: wrappers.NormalizeObservation(to_floats(env)),
    "NormalizeReward": wrappers.NormalizeReward,
    "RecordEpisodeStatistics": wrappers.RecordEpisodeStatistics,
    "TransformObservation": lambda env: wrappers.TransformObservation(env, lambda obs: obs),
    "TransformReward": lambda env: wrappers.TransformReward(env, lambda reward: 2 * reward),
    "VectorizeTransformObservation": lambda env: wrappers.VectorizeTransformObservation(
        env,
        gymnasium.wrappers.TransformObservation,
        func=lambda obs: obs,
        observation_space=env.single_observation_space,
    ),
}


@pytest.mark.parametrize(
    ("name", "id"),
    [
        *((name, "CartPole-v1") for name in WRAPPERS),
        *((f"{name}Observation", "MiniGrid-Empty-5x5-v0") for name in ("Dtype", "Flatten")),
    ],
)
def test_gymnasiums_wrappers_return_what_they_return_of_gymnasiums_vector(name, id):
    single = {"max_episode_steps": LIMIT}
    theirs = SyncVectorEnv([lambda: gymnasium.make(f"neoteny/{id}", **single)])
    rows, expected = play(WRAPPERS[name](vector(id, 1))), play(WRAPPERS[name](theirs))
    for row, other in zip(rows, expected, strict=True):
        for one, two in zip(row[:-1], other[:-1], strict=True):
            np.testing.assert_allclose(np.asarray(one, float), np.asarray(two, float), rtol=1e-5)
        assert np.ndim(row[-1]) == np.ndim(other[-1])
        if name == "RecordEpisodeStatistics" and "episode" in other[-1]:
            assert row[-1]["episode"]["l"] == other[-1]["episode"]["l"] <= LIMIT
            assert row[-1]["episode"]["r"] == other[-1]["episode"]["r"]


@pytest.mark.parametrize("name", ["ClipAction", "RescaleAction"])
def test_wrappers_of_actions(name):
    env = vector("Pendulum-v1")
    wrapped = {
        "ClipAction": wrappers.ClipAction,
        "RescaleAction": lambda env: wrappers.RescaleAction(env, np.float32(-1), np.float32(1)),
    }[name](env)
    largest = np.ones((3, 1), np.float32)
    wrapped.reset(seed=0)
    plain = vector("Pendulum-v1")
    plain.reset(seed=0)
    high = plain.action_space.high
    np.testing.assert_allclose(
        wrapped.step(9 * largest if name == "ClipAction" else largest)[0], plain.step(high)[0]
    )


def test_numpy_to_torch():
    pytest.importorskip("array_api_compat")
    env = wrappers.NumpyToTorch(vector("CartPole-v1"))
    obs, _ = env.reset(seed=0)
    assert torch.equal(obs, envs.make("CartPole", 3, seed=0).reset()[0])
    assert all(torch.is_tensor(value) for value in env.step(torch.tensor([0, 1, 0]))[:4])


def test_videos_are_recorded(tmp_path):
    pytest.importorskip("moviepy")
    env = vector("CartPole-v1", render_mode="rgb_array")
    recorder = wrappers.RecordVideo(env, str(tmp_path / "videos"), video_length=10)
    play(recorder)
    recorder.close()
    assert list(tmp_path.glob("videos/*.mp4"))


def test_an_ended_lane_of_a_mask_begins_the_episode_that_would_follow():
    env, tensors = vector("CartPole-v1"), envs.make("CartPole", 3, max_steps=LIMIT)
    env.reset(seed=0)
    tensors.reset(seed=0)
    right = np.ones(3, int)
    ended = np.zeros(3, bool)
    while not ended.any():
        last, _, terminated, truncated, _ = env.step(right)
        following = tensors.step(torch.from_numpy(right))[0].numpy()
        ended = terminated | truncated
    lane = int(np.flatnonzero(ended)[0])
    mask = np.arange(3) == lane
    obs, _ = env.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(obs, np.where(mask[:, None], following, last))
    after = env.step(right)[0]
    moved = tensors.step(torch.from_numpy(right))[0].numpy()
    np.testing.assert_array_equal(after, np.where((ended & ~mask)[:, None], following, moved))


def test_options_of_make_vec():
    assert isinstance(vector("CartPole-v1", numpy=False), envs.TensorEnv)
    assert vector("CartPole-v1", 2, members=3).num_envs == 6
    for mode in (AutoresetMode.SAME_STEP, "SameStep"):
        env = vector("CartPole-v1", autoreset_mode=mode)
        assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
        assert any("final_obs" in row[-1] for row in play(env))
    with pytest.raises(InputError, match=r"with numpy=True it is 'NextStep' or 'SameStep'$"):
        vector("CartPole-v1", autoreset_mode="Disabled")
    with pytest.raises(InputError, match=r"with numpy=False it is 'SameStep'$"):
        vector("CartPole-v1", numpy=False, autoreset_mode="NextStep")
    for name in ("nump", "backend"):
        with pytest.raises(InputError, match=rf"CartPole-v1 has no option '{name}'") as said:
            vector("CartPole-v1", **{name: "host"})
        assert str(said.value).endswith(
            "['autoreset_mode', 'device', 'max_episode_steps', 'members', 'numpy', 'parameters',"
            " 'precision', 'render_mode', 'seed']"
        )
    with pytest.raises(InputError, match=r"its options are \['device', 'max_episode_steps'"):
        gymnasium.make("neoteny/CartPole-v1", numpy=True)
