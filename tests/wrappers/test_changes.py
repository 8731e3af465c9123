import pickle

import numpy as np
import pytest
import torch

from neoteny.wrappers import Change, ObservationPermutation, RewardFlip

SHAPE = (4, 3, 5)
generator = np.random.default_rng(0)


def both(change, name, x, task):
    """The NumPy result, after checking that the inputs are untouched and that torch agrees."""
    before = x.copy()
    array = getattr(change, name)(x, task)
    on_torch = torch.from_numpy(task) if isinstance(task, np.ndarray) else task
    tensor = getattr(change, name)(torch.from_numpy(x), on_torch)
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
    with pytest.raises(ValueError, match="over must be one of features, pixels, channels"):
        ObservationPermutation(SHAPE, 2, over="rows")
    with pytest.raises(ValueError, match="shape is empty"):
        ObservationPermutation((), 2)
    with pytest.raises(ValueError, match="tasks must be positive, got 0"):
        ObservationPermutation(SHAPE, 0)
    with pytest.raises(ValueError, match=r"does not end in \(4, 3, 5\)"):
        ObservationPermutation(SHAPE, 2).observation(np.zeros((2, 4, 3, 6)), 1)
    with pytest.raises(ValueError, match="lacks the axis of 2 members"):
        ObservationPermutation(SHAPE, 2, seed=[0, 1]).observation(np.zeros((3, *SHAPE)), 1)
