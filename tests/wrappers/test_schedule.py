import json

import numpy as np
import pytest
import torch

from neoteny.wrappers import At, Cyclic, MemberSchedules, Periodic, RandomOrder, Schedule

SCHEDULES = [
    Periodic(7),
    Periodic(7, tasks=3),
    At((3, 4, 20)),
    At((3, 4, 20), tasks=2),
    Cyclic(5, 3),
    RandomOrder(4, 5, seed=11),
    RandomOrder(2, 3, seed=1, cycles=2),
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
        (lambda: Periodic(0), "period must be positive, got 0"),
        (lambda: Cyclic(5, -1), "tasks must be positive, got -1"),
        (lambda: RandomOrder(5, 2, cycles=0), "cycles must be positive, got 0"),
        (lambda: RandomOrder(5, 2, seed=-1), "seed must not be negative, got -1"),
        (lambda: At(()), "steps is empty"),
        (lambda: At((5, 5)), r"ascend strictly, got \[5, 5\]"),
        (lambda: At((0, 5)), "must be positive, got 0"),
        (lambda: MemberSchedules([]), "schedules is empty"),
        (lambda: Schedule.from_dict({"kind": "Sometimes"}), "unknown schedule kind 'Sometimes'"),
        (lambda: Schedule.from_dict({"kind": "Periodic", "p": 1}), "does not take these fields"),
    ],
)
def test_bad_schedules_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
