import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv

from neoteny.wrappers import (
    Change,
    MemberSchedules,
    NonStationary,
    NonStationaryVector,
    ObservationPermutation,
    Periodic,
    RandomOrder,
    RewardFlip,
)

MODES = ["reset", "latch", "now"]


class AddTask(Change):
    """Shows the task itself: observations, rewards and actions all carry its index."""

    def observation(self, obs, task, step=0):
        task = task[..., None] if not isinstance(task, int) else task
        return obs + 1000 * task

    def action(self, action, task, step=0, previous=0):
        return (action + task) % 3

    def reward(self, reward, task, step=0):
        return reward + 1000 * task


def shown(obs):
    return obs[..., 0] // 1000


@pytest.fixture
def changes():
    return [AddTask(), ObservationPermutation((3,), 5, seed=3), RewardFlip()]


def test_reset_truncates_at_the_boundary_and_shows_both_tasks(toy):
    env = NonStationaryVector(toy.Counter(4, seed=0), Periodic(20), [AddTask()])
    env.reset()
    got = toy.record(env, 60)  # a switch after every fifth vector step
    for step in range(60):
        task, last = step // 5, step % 5 == 4
        assert got.task[step].tolist() == [task]
        assert (shown(got.final_obs[step]) == task).all()
        assert (shown(got.obs[step]) == (task + 1 if last else task)).all()
        assert (got.reward[step] // 1000 == task).all()
        assert not (got.terminated & got.truncated).any()
        assert (got.truncated[step] == (last & ~got.terminated[step])).all()
        assert (got.cut[step] == got.truncated[step]).all()
        if last:
            assert (got.obs[step][:, 0] % 1000 == 0).all()  # a fresh episode counts from 0


def test_a_lane_that_ends_at_the_boundary_restarts_once(toy):
    plain, wrapped = (toy.Counter(60, seed=2) for _ in range(2))
    env = NonStationaryVector(wrapped, Periodic(60 * 4))
    plain.reset()
    env.reset()
    before = toy.record(plain, 4)
    got = toy.record(env, 4)
    ended = before.terminated[-1]
    assert ended.any()
    assert not ended.all()
    np.testing.assert_array_equal(got.obs[-1][ended], before.obs[-1][ended])
    np.testing.assert_array_equal(got.cut[-1], ~ended)


def test_latch_keeps_the_rules_of_an_episode(toy):
    env = NonStationaryVector(toy.Counter(4, seed=1), Periodic(20), [AddTask()], "latch")
    env.reset()
    got = toy.record(env, 100)
    assert not got.truncated.any()
    playing = np.zeros(4)
    mixed = 0
    for step in range(100):
        np.testing.assert_array_equal(got.lane_task[step], playing)
        np.testing.assert_array_equal(shown(got.final_obs[step]), playing)
        assert (got.task[step] == step // 5).all()
        playing = np.where(got.terminated[step], (step + 1) // 5, playing)
        np.testing.assert_array_equal(shown(got.obs[step]), playing)
        mixed += len(set(playing)) > 1
    assert mixed > 20


def test_now_changes_rules_within_an_episode(toy):
    plain = toy.Counter(4, seed=1)
    env = NonStationaryVector(toy.Counter(4, seed=1), Periodic(20), [AddTask()], "now")
    plain.reset()
    env.reset()
    got = toy.record(env, 100)
    assert not got.truncated.any()
    task = np.arange(100) // 5
    assert (shown(got.obs) == ((np.arange(100) + 1) // 5)[:, None]).all()
    assert (got.reward // 1000 == task[:, None]).all()
    final = shown(got.final_obs)
    assert (final[got.terminated] == np.broadcast_to(task[:, None], (100, 4))[got.terminated]).all()
    going_on = ~got.terminated
    np.testing.assert_array_equal(got.final_obs[going_on], got.obs[going_on])
    # the episodes themselves go on as if nothing had happened, for actions that do not matter
    np.testing.assert_array_equal(got.obs[..., 1:] % 1000, toy.record(plain, 100).obs[..., 1:])


@pytest.mark.parametrize(
    ("schedule", "mode", "max_steps"),
    [
        *((RandomOrder(9, 3, seed=1), mode, 5) for mode in MODES),
        *((Periodic(period), "reset", None) for period in (2, 10)),
        (Periodic(10), "reset", 5),
    ],
)
def test_max_truncations_bounds_every_window(toy, mode, schedule, max_steps):
    env = NonStationaryVector(toy.Counter(3, seed=0, max_steps=max_steps), schedule, (), mode)
    env.reset()
    toy.assert_bounded(env)


def test_max_truncations_without_time_limit_counts_the_switches(toy):
    env = NonStationaryVector(toy.Counter(4), Periodic(400))
    assert [env.max_truncations(h) for h in (1, 99, 100, 199, 200, 250)] == [0, 0, 1, 1, 2, 2]
    assert NonStationaryVector(toy.Counter(4), Periodic(400), (), "now").max_truncations(250) == 0
    assert NonStationaryVector(toy.Counter(4), Periodic(400, tasks=1)).max_truncations(250) == 0


@pytest.mark.parametrize("mode", MODES)
def test_members_together_equal_members_alone(toy, mode):
    seeds = [3, 4, 5, 9]

    def build(members):
        schedules = MemberSchedules([RandomOrder(8 + m % 2, 5, seed=m) for m in members])
        permutation = ObservationPermutation((3,), 5, seed=members)
        return NonStationaryVector(
            toy.Counter(2, len(members), seed=members), schedules, [permutation, AddTask()], mode
        )

    together, alone = build(seeds), [build([seed]) for seed in seeds]
    actions = np.random.default_rng(0).integers(3, size=(50, 8))
    obs = together.reset()[0]
    assert torch.equal(obs, torch.cat([env.reset()[0] for env in alone]))
    for step in range(50):
        joint = together.step(torch.from_numpy(actions[step]))
        parts = [e.step(torch.from_numpy(actions[step, 2 * m :][:2])) for m, e in enumerate(alone)]
        for k in range(4):
            assert torch.equal(joint[k], torch.cat([part[k] for part in parts]))
        keys = ["final_obs", "task"] + ["lane_task"] * (mode == "latch")
        for key in keys:
            assert torch.equal(joint[4][key], torch.cat([part[4][key] for part in parts]))


@pytest.mark.parametrize(
    ("at", "mode"), [*((15, mode) for mode in MODES), (13, "reset"), (16, "latch")]
)
def test_resume_is_exact_in_mid_task_and_at_a_boundary(toy, changes, mode, at):
    def build():
        env = NonStationaryVector(toy.Counter(3, seed=7, max_steps=9), Periodic(15), changes, mode)
        env.reset()
        return env

    straight, resumed = build(), build()
    toy.record(straight, at)
    resumed.load_state_dict(straight.state_dict())
    assert resumed.steps == 3 * at
    expected, got = (toy.record(env, 40, seed=1) for env in (straight, resumed))
    for key, value in vars(expected).items():
        np.testing.assert_array_equal(value, getattr(got, key))


def test_a_seeded_reset_starts_the_stream_again(toy):
    env = NonStationaryVector(toy.Counter(2, seed=4), Periodic(6), [AddTask()])
    env.reset(seed=4)
    first = toy.record(env, 20)
    env.reset()
    assert env.steps == 40
    env.reset(seed=4)
    again = toy.record(env, 20)
    np.testing.assert_array_equal(first.obs, again.obs)


def test_final_observations_may_be_left_out(toy):
    env = NonStationaryVector(toy.Counter(2), Periodic(6), [AddTask()])
    env.final_observations = False
    env.reset()
    assert all("final_obs" not in env.step(torch.zeros(2, dtype=torch.int64))[4] for _ in range(9))


class Gravity(Change):
    def params(self, task):
        return {"gravity": 9.8 if task % 2 == 0 else 20.0}


def test_params_are_set_when_a_task_comes_into_force():
    env = NonStationary(gymnasium.make("CartPole-v1"), Periodic(5), [Gravity()])
    env.reset(seed=0)
    assert env.unwrapped.gravity == 9.8
    for step in range(5):
        truncated = env.step(step % 2)[3]
    assert truncated
    assert env.unwrapped.gravity == 9.8
    env.reset()
    assert env.unwrapped.gravity == 20.0


def test_bad_arguments_are_refused(toy, tracks):
    with pytest.raises(ValueError, match="on_switch must be one of reset, latch, now, got 'later'"):
        NonStationaryVector(toy.Counter(2), Periodic(6), (), "later")
    with pytest.raises(ValueError, match="3 schedules for 2 members"):
        NonStationaryVector(toy.Counter(1, 2), MemberSchedules(Periodic(6), 3))
    change = ObservationPermutation((3,), 2, seed=[0, 1, 2])
    with pytest.raises(ValueError, match="is for 3 members, not 2"):
        NonStationaryVector(toy.Counter(1, 2), Periodic(6), [change])
    with pytest.raises(
        ValueError, match=r"autoreset_mode=gymnasium\.vector\.AutoresetMode\.SAME_STEP"
    ):
        NonStationaryVector(SyncVectorEnv([lambda: tracks.Walk()]), Periodic(6))
    with pytest.raises(ValueError, match="sets 'gravity', but Counter has no parameters"):
        NonStationaryVector(toy.Counter(2), Periodic(6), [Gravity()])
    with pytest.raises(ValueError, match=r"sets 'gravity', which .* lacks"):
        NonStationary(tracks.Walk(), Periodic(6), [Gravity()])
    with pytest.raises(ValueError, match=r"lane must lie in \[0, 2\), got 2"):
        NonStationary(tracks.Walk(), Periodic(6), stride=2, lane=2)
    with pytest.raises(ValueError, match="stride must be positive, got 0"):
        NonStationary(tracks.Walk(), Periodic(6), stride=0)


def test_states_of_stored_runs_can_be_read(tracks):
    """Runs are looked at long after they ran, so that the names in their states stay."""
    state = NonStationaryVector(tracks.Track(2), Periodic(5)).state_dict()
    assert {"steps", "lane_task", "lane_force", "memory", "judge", "env"} == set(state)
