import json
import pickle

import numpy as np
import pytest
import torch

from neoteny.core.errors import InputError
from neoteny.wrappers import (
    ActionPermutation,
    Change,
    ComposedChanges,
    Dynamics,
    GoalSwitch,
    LabelNoise,
    LabelPermutation,
    ObservationDropout,
    ObservationNoise,
    ObservationOffset,
    ObservationPermutation,
    RewardFlip,
    RewardScale,
    StickyActions,
)

SHAPE = (4, 3, 5)
generator = np.random.default_rng(0)


ALL = [
    RewardFlip(),
    RewardScale((1.0, 0.3, -2.5)),
    Dynamics("gravity", (9.8, 3.0)),
    GoalSwitch((0, 3)),
    GoalSwitch(((1, 2), (3, 4))),
    ObservationPermutation(SHAPE, 4, seed=(1, 2), over="pixels"),
    ObservationOffset(SHAPE, 3, std=0.5),
    ObservationDropout(SHAPE, 3, seed=4, keep_first=False),
    ObservationNoise(SHAPE, (0.1, 1.0), seed=3),
    ActionPermutation(6, 5, seed=(3, 4)),
    StickyActions((0.25,), seed=1),
    LabelPermutation(10, 4),
    LabelNoise(10, (0.0, 0.5), seed=2),
]
each_change = pytest.mark.parametrize("change", ALL, ids=repr)


def both(change, name, x, task, **more):
    """The NumPy result, after checking that the inputs are untouched and that torch agrees."""
    before = x.copy()
    array = getattr(change, name)(x, task, **more)

    def tensor_of(value):
        return torch.from_numpy(value) if isinstance(value, np.ndarray) else value

    there = {key: tensor_of(value) for key, value in more.items()}
    tensor = getattr(change, name)(torch.from_numpy(x), tensor_of(task), **there)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(array, tensor.numpy())
    np.testing.assert_array_equal(x, before)
    assert array.dtype == x.dtype
    return array


def test_the_base_changes_nothing():
    change = Change()
    x = generator.normal(size=(2, 3))
    for name in ("observation", "action", "reward", "label"):
        np.testing.assert_array_equal(both(change, name, x, np.array([0, 1])), x)
    assert change.params(3) == {}


def test_reward_flip_negates_odd_tasks():
    reward = generator.normal(size=(3, 4)).astype(np.float32)
    sign = np.array([1, -1, 1])[:, None]
    flipped = both(RewardFlip(), "reward", reward, np.arange(3)[:, None])
    np.testing.assert_array_equal(flipped, reward * sign.astype(np.float32))
    assert RewardFlip().reward(2.5, 3) == -2.5


@each_change
def test_survives_json_and_pickle_and_prints_one_line(change):
    again = Change.from_dict(json.loads(json.dumps(change.to_dict())))
    assert again == change
    assert type(again) is type(change)
    assert pickle.loads(pickle.dumps(change)) == change
    assert repr(change).startswith(type(change).__name__ + "(")
    assert "\n" not in repr(change)


def test_reward_scale_follows_its_factors_and_what_lies_between():
    change = RewardScale((1.0, 0.3, -2.0))
    reward = generator.normal(size=(4, 3)).astype(np.float32)
    tasks = np.array([[0], [1], [2], [3]])
    expected = reward * np.float32([[1.0], [0.3], [-2.0], [1.0]])
    np.testing.assert_array_equal(both(change, "reward", reward, tasks), expected)
    halfway = both(change, "reward", reward, 1.5)
    np.testing.assert_array_equal(halfway, reward * np.float32(0.3 + (-2.0 - 0.3) * 0.5))
    phases = np.full((4, 3), 1.5)
    np.testing.assert_array_equal(both(change, "reward", reward, phases), halfway)


def test_dynamics_and_goals_follow_their_lists():
    gravity = Dynamics("gravity", (9.8, 3.0))
    assert [gravity.params(task)["gravity"] for task in (0, 1, 2)] == [9.8, 3.0, 9.8]
    assert gravity.params(0.25)["gravity"] == 9.8 + (3.0 - 9.8) * 0.25
    tasks = torch.tensor([[0, 1], [3, 2]])
    wanted = torch.tensor([[9.8, 3.0], [3.0, 9.8]], dtype=torch.float64)
    assert torch.equal(gravity.params(tasks)["gravity"], wanted)
    assert GoalSwitch((4, 7), "door").params(3) == {"door": 7}
    places = GoalSwitch(((1, 2), (3, 4))).params(tasks)["goal"]
    assert places.tolist() == [[[1, 2], [3, 4]], [[3, 4], [1, 2]]]


def test_offsets_follow_their_formula():
    change = ObservationOffset(SHAPE, 3, std=0.5, seed=7)
    obs = generator.normal(size=(4, *SHAPE)).astype(np.float32)
    drawn = [0.5 * np.random.default_rng([7, t]).standard_normal(60) for t in range(3)]
    table = np.stack([np.zeros(60), *drawn[1:]]).reshape(3, *SHAPE)
    expected = obs + table[[0, 1, 2, 0]].astype(np.float32)
    np.testing.assert_array_equal(both(change, "observation", obs, np.arange(4)), expected)
    between = obs + (table[1] + (table[2] - table[1]) * 0.25).astype(np.float32)
    np.testing.assert_array_equal(both(change, "observation", obs, 1.25), between)
    np.testing.assert_array_equal(both(change, "observation", obs, np.full(4, 1.25)), between)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.float32])
def test_dropout_hides_the_same_features_for_a_whole_task(dtype):
    change = ObservationDropout(SHAPE, 3, fraction=0.4, seed=7)
    obs = np.ones((4, *SHAPE), dtype)
    hidden = [np.random.default_rng([7, t]).random(60) < 0.4 for t in range(3)]
    out = both(change, "observation", obs, np.array([0, 1, 2, 4])).reshape(4, 60)
    for row, mask in zip(out, (np.zeros(60, bool), hidden[1], hidden[2], hidden[1]), strict=True):
        np.testing.assert_array_equal(row, ~mask)


def test_noise_is_normal_fresh_at_every_step_and_lane_and_the_same_when_asked_again():
    change = ObservationNoise((50,), (0.0, 2.0), seed=3)
    obs = np.zeros((4, 25, 50), np.float32)
    np.testing.assert_array_equal(both(change, "observation", obs, 0, step=np.arange(25)), obs)
    steps = [np.arange(25) + 25 * t for t in range(20)]
    drawn = np.stack([both(change, "observation", obs, 1, step=step)[0] for step in steps])
    again = both(change, "observation", obs, 1, step=steps[3])
    np.testing.assert_array_equal(again[0], drawn[3])
    np.testing.assert_array_equal(again[0], again[1])  # members share a seed
    alone = change.observation(obs[0, 0], 1, 25 * 3 + 7)
    np.testing.assert_array_equal(alone, drawn[3, 7])
    assert abs(drawn.mean()) < 4 * 2 / 25_000**0.5
    assert abs(drawn.std() - 2) < 4 * 2 / (2 * 25_000) ** 0.5
    assert abs((np.abs(drawn) < 2).mean() - 0.6827) < 4 * (0.6827 * 0.3173 / 25_000) ** 0.5
    flat = drawn.reshape(500, 50)
    correlation = np.corrcoef(flat[:-1].reshape(-1), flat[1:].reshape(-1))[0, 1]
    assert abs(correlation) < 4 / 24_950**0.5
    own = ObservationNoise((50,), 1.0, seed=(3, 3, 4, 5)).observation(obs, 0, steps[0])
    np.testing.assert_array_equal(own[0], own[1])
    assert (own[1] != own[2]).mean() > 0.99


def test_actions_are_renamed_by_their_formula():
    change = ActionPermutation(5, 3, seed=(2, 9))
    actions = generator.integers(5, size=(2, 6))
    tasks = np.array([[0, 1, 2, 3, 4, 5], [1, 1, 1, 2, 2, 2]])
    out = both(change, "action", actions, tasks)
    for (member, lane), task in np.ndenumerate(tasks % 3):
        names = np.random.default_rng([(2, 9)[member], task]).permutation(5)
        names = names if task else np.arange(5)
        assert out[member, lane] == names[actions[member, lane]]


def test_sticky_actions_repeat_what_was_played_as_often_as_asked():
    change = StickyActions((0.0, 0.25), seed=1)
    steps = np.arange(20_000)
    fresh, before = np.full(20_000, 1), np.full(20_000, 2)
    assert (both(change, "action", fresh, 0, step=steps, previous=before) == 1).all()
    played = both(change, "action", fresh, 1, step=steps, previous=before)
    assert abs((played == 2).mean() - 0.25) < 4 * (0.25 * 0.75 / 20_000) ** 0.5
    singles = [change.action(1, 1, step, 2) for step in range(50)]
    assert singles == played[:50].tolist()
    assert change.action(1, 1, int(steps[played == 2][0])) == 0  # nothing was played before
    tall = StickyActions(0.5, shape=(2,)).action(np.ones((100, 2)), 0, steps[:100])
    assert set(tall.sum(1)) == {0.0, 2.0}


def test_labels_are_renamed_and_some_are_wrong_for_good():
    y = generator.integers(10, size=(2, 4000))
    renamed = both(LabelPermutation(10, 3, seed=(1, 2)), "label", y, 2)
    for member, seed in enumerate((1, 2)):
        names = np.random.default_rng([seed, 2]).permutation(10)
        np.testing.assert_array_equal(renamed[member], names[y[member]])
    change = LabelNoise(10, (0.0, 0.5), seed=4)
    sample = generator.permutation(4000)
    np.testing.assert_array_equal(both(change, "label", y, 0, step=sample), y)
    noisy = both(change, "label", y, 1, step=sample)
    np.testing.assert_array_equal(noisy[:, ::-1], change.label(y[:, ::-1], 1, sample[::-1]))
    assert abs((noisy != y).mean() - 0.45) < 4 * (0.45 * 0.55 / 4000) ** 0.5
    wrong = noisy[0][noisy[0] != y[0]]
    assert np.abs(np.bincount(wrong, minlength=10) / len(wrong) - 0.1).max() < 0.04


def oracle(x, permutation, over):
    """One observation, shuffled entry by entry."""
    if over == "features":
        return x.reshape(-1)[permutation].reshape(x.shape)
    if over == "pixels":
        return x.reshape(-1, x.shape[-1])[permutation].reshape(x.shape)
    return x[..., permutation]


@pytest.mark.parametrize("over", ["features", "pixels", "channels"])
@pytest.mark.parametrize("dtype", [np.bool_, np.float32, np.uint8])
def test_permutation_follows_its_formula(over, dtype):
    size = {"features": 60, "pixels": 12, "channels": 5}[over]
    change = ObservationPermutation(SHAPE, tasks=4, seed=9, over=over)
    obs = (generator.normal(size=(6, *SHAPE)) * 50).astype(dtype)
    tasks = np.array([0, 1, 2, 3, 4, 7])
    out = both(change, "observation", obs, tasks)
    for lane, task in enumerate(tasks % 4):
        permutation = np.random.default_rng([9, task]).permutation(size)
        if task == 0:
            permutation = np.arange(size)
        np.testing.assert_array_equal(out[lane], oracle(obs[lane], permutation, over))
        np.testing.assert_array_equal(both(change, "observation", obs, int(task))[lane], out[lane])
        single = both(change, "observation", obs[lane], int(task))
        np.testing.assert_array_equal(single, out[lane])


def test_task_0_is_shuffled_only_on_request():
    obs = np.arange(60.0).reshape(SHAPE)
    kept = ObservationPermutation(SHAPE, 2, seed=1)
    shuffled = ObservationPermutation(SHAPE, 2, seed=1, keep_first=False)
    np.testing.assert_array_equal(kept.observation(obs, 0), obs)
    assert (shuffled.observation(obs, 0) != obs).any()
    np.testing.assert_array_equal(kept.observation(obs, 1), shuffled.observation(obs, 1))


def test_more_tasks_leave_the_first_ones_alone():
    obs = np.arange(60.0).reshape(SHAPE)
    few, many = (ObservationPermutation(SHAPE, n, seed=4) for n in (2, 9))
    np.testing.assert_array_equal(few.observation(obs, 1), many.observation(obs, 1))


@pytest.mark.parametrize("over", ["features", "pixels", "channels"])
@pytest.mark.parametrize("task", [2, np.array([[0], [1], [2]]), np.arange(12).reshape(3, 4) % 5])
def test_members_keep_their_own_permutations(over, task):
    seeds = (7, 8, 30)
    change = ObservationPermutation(SHAPE, tasks=5, seed=seeds, over=over)
    obs = generator.normal(size=(3, 4, *SHAPE))
    out = both(change, "observation", obs, task)
    tasks = np.broadcast_to(task, (3, 4))
    for member, seed in enumerate(seeds):
        alone = ObservationPermutation(SHAPE, tasks=5, seed=seed, over=over)
        expected = alone.observation(obs[member], tasks[member])
        np.testing.assert_array_equal(out[member], expected)


def test_a_change_can_be_pickled_after_use():
    change = ObservationPermutation(SHAPE, 3, seed=2)
    obs = torch.rand(2, *SHAPE)
    again = pickle.loads(pickle.dumps((change.observation(obs, 1), change)))[1]
    assert torch.equal(again.observation(obs, 1), change.observation(obs, 1))


def test_bad_permutations_are_refused():
    with pytest.raises(
        ValueError, match="over is 'rows': it must be one of features, pixels, channels"
    ):
        ObservationPermutation(SHAPE, 2, over="rows")
    with pytest.raises(ValueError, match="shape is empty"):
        ObservationPermutation((), 2)
    with pytest.raises(ValueError, match="tasks is 0: it must be from 1 to 100,000"):
        ObservationPermutation(SHAPE, 0)
    with pytest.raises(ValueError, match=r"does not end in \(4, 3, 5\)"):
        ObservationPermutation(SHAPE, 2).observation(np.zeros((2, 4, 3, 6)), 1)
    with pytest.raises(ValueError, match="lacks the axis of 2 members"):
        ObservationPermutation(SHAPE, 2, seed=[0, 1]).observation(np.zeros((3, *SHAPE)), 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RewardScale(()), "factors is empty"),
        (lambda: RewardScale("1"), "factors is '1': it must be a finite number"),
        (lambda: Dynamics("g", (float("inf"),)), r"values is \(inf,\): it must be a finite number"),
        (lambda: GoalSwitch(("red",)), "goals must be whole numbers"),
        (lambda: GoalSwitch(((1, 2), 3)), "positions of one length"),
        (lambda: ObservationOffset((), 2), "shape is empty"),
        (lambda: ObservationOffset((3,), 2, std=-1), "std is -1: it must be at least 0"),
        (
            lambda: ObservationNoise((3,), (0.1, -0.1)),
            r"stds is \(0.1, -0.1\): it must be at least 0",
        ),
        (
            lambda: ObservationDropout((3,), 2, fraction=1.2),
            r"fraction is 1.2: it must be in \[0, 1\]",
        ),
        (lambda: ActionPermutation(0, 2), "actions is 0: it must be at least 1"),
        (lambda: ActionPermutation(3, 2, seed=-1), "seed is -1: it must be at least 0"),
        (lambda: StickyActions(1.5), r"probabilities is 1.5: it must be in \[0, 1\]"),
        (lambda: LabelNoise(3, -0.1), r"fractions is -0.1: it must be in \[0, 1\]"),
        (lambda: ActionPermutation(3, 2, keep_first="perhaps"), "it must be true or false"),
        (lambda: ObservationOffset((3,), 2, seed=()), "seed is empty"),
        (
            lambda: ObservationOffset((30_000,), 10_000).observation(np.zeros(30_000), 1),
            "lower tasks",
        ),
        (lambda: Change.from_dict({"kind": "RewardFlop"}), "did you mean 'RewardFlip'"),
        (lambda: Change.from_dict({"kind": "StickyActions"}), "lacks its field 'probabilities'"),
        (lambda: Change.from_dict({"kind": "RewardFlip", "by": 2}), "has no field 'by'"),
        (
            lambda: ComposedChanges([RewardFlip()], supervised=True),
            "acts on reward, but a supervised stream",
        ),
        (
            lambda: ComposedChanges([LabelNoise(3, 0.1)]),
            "acts on label, but an environment has only",
        ),
        (lambda: ComposedChanges([StickyActions(0.1, seed=(1, 2))], 3), "is for 2 members, not 3"),
        (lambda: ComposedChanges([RewardFlip()], gradual=True), "knows no way between two tasks"),
    ],
)
def test_bad_changes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({}, "define one of observation, action, reward, label, params, or begin a base class"),
        ({"rewards": lambda self, reward, task: reward}, "did you mean reward by rewards?"),
    ],
)
def test_a_change_that_changes_nothing_is_refused_when_it_is_defined(own, message):
    with pytest.raises(InputError, match="the change Idle changes nothing: ") as said:
        type("Idle", (Change,), own)
    assert message in str(said.value)
    assert "Idle" not in Change.kinds
    type("_Idle", (Change,), own)  # a base class
