import json

import numpy as np
import pytest
import torch

from neoteny.wrappers import (
    Asynchronous,
    At,
    Cyclic,
    LinearDrift,
    MemberSchedules,
    OnReturn,
    Periodic,
    Poisson,
    RandomOrder,
    Schedule,
    Sinusoidal,
)

SCHEDULES = [
    Periodic(7),
    Periodic(7, tasks=3),
    At((3, 4, 20)),
    At((3, 4, 20), tasks=2),
    Cyclic(5, 3),
    RandomOrder(4, 5, seed=11),
    RandomOrder(2, 3, seed=1, cycles=2),
    Poisson(9, seed=3),
    Poisson(9, tasks=3, seed=3, every=4, switches=6),
    OnReturn(1.5, 10, tasks=2, switches=(10, 30, 40)),
    OnReturn(1.5, 10),
    LinearDrift(60, tasks=3, start=20),
    Sinusoidal(50, tasks=4),
    Asynchronous(Cyclic(5, 3), 12),
    Asynchronous(Sinusoidal(50), 12),
]
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)


@each_schedule
def test_int_numpy_and_torch_agree_and_keep_their_kind(schedule):
    steps = np.arange(200).reshape(4, 50)
    for function in (schedule.task, schedule.visit):
        expected = [[function(int(step)) for step in row] for row in steps]
        assert all(type(value) is int for row in expected for value in row)
        array = function(steps)
        tensor = function(torch.from_numpy(steps))
        assert isinstance(array, np.ndarray)
        assert isinstance(tensor, torch.Tensor)
        assert tensor.dtype == torch.int64
        assert array.tolist() == expected
        assert tensor.tolist() == expected


@each_schedule
def test_a_task_changes_only_at_boundaries(schedule):
    boundaries = schedule.boundaries(100)
    visits = [schedule.visit(step) for step in range(100)]
    assert boundaries == [step for step in range(1, 100) if visits[step] != visits[step - 1]]
    tasks = [schedule.task(step) for step in range(100)]
    assert all(tasks[s] == tasks[s - 1] for s in range(1, 100) if s not in boundaries)
    for step in range(60):
        following = schedule.next_boundary(step)
        assert following == next((b for b in boundaries if b > step), following)


@each_schedule
def test_survives_json_and_prints_one_line(schedule):
    again = Schedule.from_dict(json.loads(json.dumps(schedule.to_dict())))
    assert again == schedule
    assert type(again) is type(schedule)
    assert "\n" not in repr(schedule)


@each_schedule
def test_phases_agree_and_are_the_tasks_unless_the_world_drifts(schedule):
    steps = np.arange(200).reshape(4, 50)
    array, tensor = schedule.phase(steps), schedule.phase(torch.from_numpy(steps))
    assert tensor.dtype == torch.float64
    np.testing.assert_array_equal(array, tensor.numpy())
    assert array.tolist() == [[schedule.phase(int(step)) for step in row] for row in steps]
    assert type(schedule.phase(3)) is float
    if not schedule.gradual:
        np.testing.assert_array_equal(array, schedule.task(steps))


def test_drifts_follow_their_formulas():
    steps = np.arange(300)
    expected = 2 * np.clip((steps - 20) / 60, 0, 1)
    np.testing.assert_allclose(LinearDrift(60, 3, 20).phase(steps), expected, rtol=1e-15)
    wave = Sinusoidal(4096, tasks=4).phase(np.arange(10_000))
    expected = 1.5 * (1 - np.cos(2 * np.pi * np.arange(10_000) / 4096))
    np.testing.assert_allclose(wave, expected, atol=1e-11)
    assert Sinusoidal(50).boundaries(1000) == []


def test_times_of_a_poisson_schedule_are_exponential():
    schedule = Poisson(1000, seed=5, switches=4000)
    gaps = np.diff([0, *schedule.boundaries(10**9)])
    assert len(gaps) == 4000
    assert abs(gaps.mean() - 1000.5) < 4 * 1000 / 4000**0.5
    assert abs((gaps > 1000).mean() - np.exp(-1)) < 4 * 0.5 / 4000**0.5
    assert all(b % 64 == 0 for b in Poisson(1000, seed=5, every=64).boundaries(10**6))


def test_a_mastered_task_is_left():
    schedule = OnReturn(2.0, 100, tasks=2)
    assert schedule.advance(100, 1.9) == schedule
    assert schedule.advance(100, float("nan")) == schedule
    left = schedule.advance(200, 2.0).advance(500, 3.0)
    assert left.boundaries(1000) == [200, 500]
    assert [left.task(step) for step in (199, 200, 499, 500)] == [0, 1, 1, 0]
    assert [schedule.next_check(step) for step in (0, 99, 100)] == [100, 100, 200]


@pytest.mark.parametrize("lanes", [1, 3, 8])
def test_lanes_lag_behind_the_first(lanes):
    schedule = Asynchronous(At((7, 20, 21), tasks=4), spread=15)
    together = MemberSchedules(schedule)
    delays = schedule.delays(lanes)
    assert delays.tolist() == [15 * lane // lanes for lane in range(lanes)]
    tasks = [together.lane_values("task", step, lanes, None)[0] for step in range(60)]
    for step, row in enumerate(tasks):
        assert row.tolist() == [schedule.task(max(step - int(d), 0)) for d in delays]
    changed = [step for step in range(1, 60) if (tasks[step] != tasks[step - 1]).any()]
    for step in range(59):
        following = next((c for c in changed if c > step), None)
        assert together.next_check(step, lanes) == following


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Periodic(7), Periodic(10)),
        (Cyclic(10, 3), Cyclic(10, 3)),
        (RandomOrder(11, 3, seed=4), RandomOrder(20, 3, seed=4)),
        (At((3, 9, 15), tasks=2), At((10, 20), tasks=2)),
        (Poisson(30, every=4), Poisson(30, every=10)),
        (OnReturn(1.0, 15), OnReturn(1.0, 20)),
        (Sinusoidal(33), Sinusoidal(33)),
        (Asynchronous(Periodic(7), 9), Asynchronous(Periodic(10), 9)),
    ],
)
def test_switches_can_be_put_off_to_multiples(schedule, expected):
    assert schedule.aligned(10) == expected
    assert all(b % 10 == 0 for b in schedule.aligned(10).boundaries(200))


def test_the_step_that_reaches_a_boundary_is_of_the_old_task():
    assert [Periodic(3).task(step) for step in range(7)] == [0, 0, 0, 1, 1, 1, 2]
    assert [At((2, 5)).task(step) for step in range(7)] == [0, 0, 1, 1, 1, 2, 2]
    assert [Cyclic(2, 2).task(step) for step in range(7)] == [0, 0, 1, 1, 0, 0, 1]
    assert [Periodic(3, tasks=2).task(step) for step in range(9)] == [0, 0, 0] + [1] * 6


def test_random_order_is_the_published_formula():
    schedule = RandomOrder(10, 4, seed=26)
    for cycle in range(20):
        order = np.random.default_rng(26 + 7919 * cycle).permutation(4).tolist()
        assert [schedule.task(10 * (4 * cycle + k)) for k in range(4)] == order


def test_random_order_repeats_after_its_cycles():
    schedule = RandomOrder(1, 4, seed=3, cycles=3)
    tasks = schedule.task(np.arange(24))
    assert (tasks[:12] == tasks[12:]).all()


def test_members_have_their_own_orders():
    together = MemberSchedules.random_order(10, 4, seeds=[5, 6, 7])
    assert together.switch_together
    for step in range(0, 200, 10):
        alone = [RandomOrder(10, 4, seed=seed).task(step) for seed in (5, 6, 7)]
        assert together.tasks(step) == alone
    assert MemberSchedules.from_dict(json.loads(json.dumps(together.to_dict()))) == together


def test_members_may_switch_apart():
    schedules = MemberSchedules([Periodic(4), At((3, 6))])
    assert not schedules.switch_together
    assert schedules.boundaries(10) == [3, 4, 6, 8]
    assert schedules.next_boundary(6) == 8
    assert schedules.visits(5) == [1, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Periodic(0), "period is 0: it must be at least 1"),
        (lambda: Cyclic(5, -1), "tasks is -1: it must be from 1 to 100,000"),
        (lambda: RandomOrder(5, 2, cycles=0), "cycles is 0: it must be at least 1"),
        (lambda: RandomOrder(5, 2, seed=-1), "seed is -1: it must be at least 0"),
        (lambda: RandomOrder(5, 100_000), "cycles 128 x tasks 100,000 is more than 100,000"),
        (lambda: Cyclic(5, 10**9), "tasks is 1000000000: it must be from 1 to 100,000"),
        (lambda: Cyclic(5, True), "tasks is True: it must be a whole number"),
        (lambda: Periodic(1).boundaries(10**9), "switched more than 1,000,000 times"),
        (lambda: At(()), "steps is empty"),
        (lambda: At((5, 5)), r"steps is \(5, 5\): it must ascend strictly"),
        (lambda: At((0, 5)), r"steps is \(0, 5\): it must be at least 1"),
        (lambda: At((1.5,)), "must be a whole number"),
        (lambda: MemberSchedules([]), "schedules is empty"),
        (lambda: Schedule.from_dict({"kind": "Sometimes"}), "schedule kind 'Sometimes' is unknown"),
        (lambda: Schedule.from_dict({"kind": "Periodic", "p": 1}), "Periodic has no field 'p'"),
        (lambda: Schedule.from_dict({"kind": "Cyclic", "period": 1}), "lacks its field 'tasks'"),
        (lambda: Schedule.from_dict({"kind": "Periodik"}), "did you mean 'Periodic'"),
        (lambda: Periodic("5"), "period is '5': it must be a whole number"),
        (lambda: Poisson(0), "period is 0: it must be at least 1"),
        (lambda: Poisson(5, seed=-1), "seed is -1: it must be at least 0"),
        (lambda: LinearDrift(5, tasks=1), "tasks is 1: it must be from 2 to 100,000"),
        (lambda: LinearDrift(5, start=-1), "start is -1: it must be at least 0"),
        (lambda: Sinusoidal(0), "period is 0: it must be at least 1"),
        (lambda: OnReturn(float("nan"), 5), "threshold is nan: it must be a finite number"),
        (lambda: OnReturn(1.0, 5, switches=(4, 4)), r"switches is \(4, 4\): it must ascend"),
        (lambda: Asynchronous(OnReturn(1.0, 5), 4), "give a schedule fixed beforehand"),
        (lambda: MemberSchedules([Periodic(5), Sinusoidal(5)]), "either all members drift"),
    ],
)
def test_bad_schedules_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
