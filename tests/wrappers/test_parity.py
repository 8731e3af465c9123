"""The two adapters give the same, for every change, schedule and mode."""

from functools import partial

import gymnasium
import minigrid  # noqa: F401 - registers its ids
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv

from neoteny.wrappers import (
    Cyclic,
    Dynamics,
    GoalSwitch,
    MemberSchedules,
    NonStationary,
    NonStationaryVector,
    OnReturn,
)

LANES, LIMIT = 3, 8
MODES = ["reset", "latch", "now"]
each_mode = pytest.mark.parametrize("mode", MODES)


def some_modes(name, values):
    """Each value in each mode; by default in one mode each, in turn."""
    cases = [
        pytest.param(value, mode, marks=() if (place - turn) % 3 == 0 else pytest.mark.slow)
        for place, value in enumerate(values)
        for turn, mode in enumerate(MODES)
    ]
    return pytest.mark.parametrize((name, "mode"), cases)


same_step = partial(SyncVectorEnv, autoreset_mode=AutoresetMode.SAME_STEP)


def singles(tracks, schedule, changes, mode):
    """Functions that make each lane, wrapped by the adapter for single environments."""

    def make(lane):
        env = tracks.Walk(lane, LIMIT)
        return NonStationary(env, schedule, changes, mode, stride=LANES, lane=lane)

    return [partial(make, lane) for lane in range(LANES)]


def compare(ours, theirs, played):
    """One step of a vector adapter against wrapped singles, entry by entry; rewards as float32."""
    np.testing.assert_array_equal(theirs[0], np.asarray(ours[0]))
    np.testing.assert_array_equal(np.float32(theirs[1]), np.float32(ours[1]))
    for k in (2, 3):
        np.testing.assert_array_equal(theirs[k], np.asarray(ours[k]))
    for lane in np.flatnonzero(theirs[2] | theirs[3]):
        expected = theirs[4]["final_obs"][lane]
        np.testing.assert_array_equal(expected, np.asarray(ours[4]["final_obs"][lane]))
    if "lane_task" in ours[4]:
        np.testing.assert_array_equal(played, np.asarray(ours[4]["lane_task"]))


def test_wrapped_singles_equal_the_vector_adapter_on_numpy_and_torch(tracks, case):
    changes, schedule, mode = tracks.changes[case[0]], tracks.schedules[case[1]], case[2]
    wrapped = same_step(singles(tracks, schedule, changes, mode))
    inner = same_step([partial(tracks.Walk, lane, LIMIT) for lane in range(LANES)])
    vectors = [
        NonStationaryVector(env, schedule, changes, mode)
        for env in (inner, tracks.Track(LANES, max_steps=LIMIT))
    ]
    begun = wrapped.reset()[0]
    for vector in vectors:
        np.testing.assert_array_equal(begun, np.asarray(vector.reset()[0]))
    for actions in np.random.default_rng(1).integers(3, size=(22, LANES)):
        theirs = wrapped.step(actions)
        played = np.array(theirs[4]["task"])
        for lane in np.flatnonzero(theirs[2] | theirs[3]):
            played[lane] = theirs[4]["final_info"]["task"][lane]
        compare(vectors[0].step(actions), theirs, played)
        compare(vectors[1].step(torch.from_numpy(actions)), theirs, played)


@pytest.mark.parametrize(
    ("schedule", "mode"), list(zip(["cyclic", "lanes", "poisson"], MODES, strict=True))
)
def test_under_the_vec_env_of_stable_baselines(tracks, schedule, mode):
    schedule, changes = tracks.schedules[schedule], tracks.changes["abrupt"]
    dummy = DummyVecEnv(singles(tracks, schedule, changes, mode))
    vector = NonStationaryVector(tracks.Track(LANES, max_steps=LIMIT), schedule, changes, mode)
    np.testing.assert_array_equal(dummy.reset(), vector.reset()[0].numpy())
    for actions in np.random.default_rng(1).integers(3, size=(40, LANES)):
        obs, reward, done, infos = dummy.step(actions)
        ours = vector.step(torch.from_numpy(actions))
        np.testing.assert_array_equal(obs, ours[0].numpy())
        np.testing.assert_array_equal(reward, ours[1].numpy())
        np.testing.assert_array_equal(done, (ours[2] | ours[3]).numpy())
        for lane in np.flatnonzero(done):
            final = ours[4]["final_obs"][lane].numpy()
            np.testing.assert_array_equal(infos[lane]["terminal_observation"], final)
            assert infos[lane]["TimeLimit.truncated"] == ours[3][lane].item()


@some_modes("threshold", [-1e9, 20.0, 1e9])
def test_a_schedule_that_waits_for_returns(tracks, mode, threshold):
    schedule = OnReturn(threshold, every=25, tasks=3, episodes=3)
    changes = tracks.changes["abrupt"]
    single = NonStationary(tracks.Walk(0, LIMIT), schedule, changes, mode)
    vector = NonStationaryVector(tracks.Track(1, max_steps=LIMIT), schedule, changes, mode)
    single.reset()
    vector.reset()
    returns, total, expected = [], 0.0, []
    for step, action in enumerate(np.random.default_rng(1).integers(3, size=250), 1):
        obs, reward, terminated, truncated, _ = single.step(action)
        ours = vector.step(torch.tensor([action]))
        np.testing.assert_array_equal(obs, ours[4]["final_obs"][0])
        assert (reward, terminated, truncated) == tuple(x.item() for x in ours[1:4])
        total += reward
        if terminated or (truncated and not ours[4].get("cut", torch.zeros(1)).item()):
            returns.append(total)
        if step % 25 == 0 and len(returns) >= 3:
            expected += [step] if np.mean(returns) >= threshold else []
            returns = []
        if terminated or truncated:
            total = 0.0
            single.reset()
    assert vector.boundaries(251) == expected
    assert (len(expected) > 3, len(expected) == 1, not expected)[[-1e9, 20.0, 1e9].index(threshold)]


def test_members_wait_for_their_own_returns(tracks):
    def build(members, thresholds):
        schedules = MemberSchedules([OnReturn(t, 40, episodes=5) for t in thresholds])
        env = tracks.Track(2, members, max_steps=LIMIT)
        return NonStationaryVector(env, schedules, tracks.changes["abrupt"])

    thresholds = [-1e9, 6.0, 1e9]
    together, alone = build(3, thresholds), [build(1, [t]) for t in thresholds]
    for env in (together, *alone):
        env.reset()
    for actions in np.random.default_rng(0).integers(3, size=(150, 3, 2)):
        joint = together.step(torch.from_numpy(actions.reshape(-1)))
        parts = [env.step(torch.from_numpy(a)) for env, a in zip(alone, actions, strict=True)]
        for k in range(4):
            assert torch.equal(joint[k], torch.cat([part[k] for part in parts]))
    visits = together.schedule.visits(300)
    assert visits[0] > visits[1] > visits[2] == 0
    assert visits == [env.schedule.visits(300)[0] for env in alone]


def test_another_instance_can_be_put_where_returns_have_led(tracks):
    def build():
        schedule = OnReturn(-1e9, 30, episodes=2)
        return NonStationaryVector(tracks.Track(3, max_steps=LIMIT), schedule, [GoalSwitch((0, 2))])

    env, other = build(), build()
    env.reset()
    for _ in range(50):
        env.step(torch.zeros(3, dtype=torch.int64))
    assert env.tasks_at(149)[0] > 1
    other.seek(149, env.schedule)
    other.reset()
    assert other.schedule == env.schedule
    assert other.unwrapped.parameters["goal"].tolist() == [2 * (env.tasks_at(149)[0] % 2)] * 3


@some_modes("name", ["lanes", "sinus", "sinus-lanes", "poisson", "on return"])
def test_resume_is_exact(tracks, toy, name, mode):
    schedule = {**tracks.schedules, "on return": OnReturn(5.0, 30, episodes=2)}[name]

    def build():
        env = NonStationaryVector(
            tracks.Track(LANES, 2, max_steps=LIMIT), schedule, tracks.changes["gradual"], mode
        )
        env.reset()
        return env

    straight, resumed = build(), build()
    toy.record(straight, 22)
    resumed.load_state_dict(straight.state_dict())
    expected, got = (toy.record(env, 15, seed=1) for env in (straight, resumed))
    for key, value in vars(expected).items():
        np.testing.assert_array_equal(value, getattr(got, key))


@each_mode
def test_lanes_one_after_another_make_the_switches_of_the_first(tracks, mode, toy):
    schedule = tracks.schedules["lanes"]
    env = NonStationaryVector(tracks.Track(LANES), schedule, tracks.changes["flip"], mode)
    env.reset()
    cuts = toy.assert_bounded(env, 90)
    if mode != "reset":
        assert not np.any(cuts)
        return
    steps = [3 * (np.flatnonzero(cuts[:, lane]) + 1) for lane in range(LANES)]
    for lane in range(LANES):
        due = {-(-(20 * k + 15 * lane) // 3) * 3 for k in range(1, 15)}
        assert set(steps[lane]) <= due  # a lane that ends by itself at that step is not cut
    assert len(set.union(*map(set, steps))) > 15


def test_dynamics_of_gymnasium_lanes_equal_those_of_single_environments():
    schedule = Cyclic(40, 3)
    changes = [Dynamics("masspole", (0.1, 0.9, 0.4)), Dynamics("length", (0.5, 1.5, 0.1))]
    wrapped = same_step(
        [
            lambda: NonStationary(gymnasium.make("CartPole-v1"), schedule, changes, stride=2)
            for _ in range(2)
        ]
    )
    vector = NonStationaryVector(
        same_step([lambda: gymnasium.make("CartPole-v1")] * 2), schedule, changes
    )
    np.testing.assert_array_equal(wrapped.reset(seed=3)[0], vector.reset(seed=3)[0])
    for actions in np.random.default_rng(0).integers(2, size=(120, 2)):
        for a, b in zip(wrapped.step(actions)[:4], vector.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        for env in (wrapped, vector.unwrapped):
            mass, length = env.get_attr("masspole")[0], env.get_attr("length")[0]
            assert env.get_attr("polemass_length")[0] == mass * length
            assert env.get_attr("total_mass")[0] == mass + 1.0


def test_a_goal_of_a_host_environment_moves_with_the_task():
    corners = ((1, 1), (17, 17))
    env = NonStationary(
        gymnasium.make("MiniGrid-FourRooms-v0"),
        Cyclic(10, 2),
        [GoalSwitch(corners, "_goal_default_pos")],
    )
    env.reset(seed=0)
    for step in range(40):
        shown = {
            (x, y)
            for x, y in np.ndindex(19, 19)
            if (cell := env.unwrapped.grid.get(x, y)) is not None and cell.type == "goal"
        }
        assert shown == {corners[step // 10 % 2]}
        if env.step(0)[3]:
            env.reset()
