"""The replay against plain loops over recorded steps, and its draws against their distributions."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from neoteny.agents.dqn_loss import DQNConfig
from neoteny.agents.replay import ReplayBuffer, pack, unpack
from neoteny.agents.replay_policies import make_replay
from neoteny.core import rng

SHAPE = (2, 3)


def play(steps, lanes, seed=0, kind=torch.float32):
    """Made-up steps of all lanes: action, reward, terminated, truncated, obs, final_obs."""
    g = torch.Generator().manual_seed(seed)

    def frames():
        return (torch.rand(lanes, *SHAPE, generator=g) * 200).to(kind)

    first, record = frames(), []
    for _ in range(steps):
        final = frames()
        terminated = torch.rand(lanes, generator=g) < 0.1
        truncated = (torch.rand(lanes, generator=g) < 0.15) & ~terminated
        fresh = frames()
        done = (terminated | truncated).view(-1, 1, 1)
        record.append(
            (
                torch.randint(5, (lanes,), generator=g),
                torch.randn(lanes, generator=g),
                terminated,
                truncated,
                torch.where(done, fresh, final),
                final,
            )
        )
    return first, record


def expected(first, record, start, lane, n, gamma):
    """The transition by its definition, one step after the other, in float64."""
    obs = first if start == 0 else record[start - 1][4]
    returns, k = 0.0, 0
    while True:
        _, reward, terminated, truncated, _, final = record[start + k]
        returns += gamma**k * float(reward[lane])
        k += 1
        if terminated[lane]:
            return obs[lane], record[start][0][lane], returns, 0.0, None
        if truncated[lane] or k == n:
            return obs[lane], record[start][0][lane], returns, gamma**k, final[lane]


def assert_equal(batch, index, wanted):
    obs, action, returns, discount, final = wanted
    assert torch.equal(batch.obs[index], obs)
    assert batch.action[index] == action
    assert float(batch.returns[index]) == pytest.approx(returns, rel=1e-5, abs=1e-5)
    assert float(batch.discount[index]) == pytest.approx(discount, rel=1e-6)
    assert final is None or torch.equal(batch.next_obs[index], final)


@pytest.mark.parametrize(("n", "members"), [(1, 1), (3, 2)])
def test_every_transition_equals_a_plain_loop_over_the_record(n, members):
    """While the buffer wraps several times, and as room for final observations grows."""
    lanes, rows = 4, 11
    first, record = play(60, members * lanes)
    buffer = ReplayBuffer(first, members, rows, n, 0.9)
    compared = 0
    for t, step in enumerate(record):
        if t % 7 == 0:  # as many as truly occur within the buffer from here on
            buffer.reserve(int(sum(s[3].int() for s in record[t : t + rows + 7]).max()))
        buffer.add(*step)
        assert buffer.oldest == max(0, t + 1 - (rows - 1))
        assert buffer.size == max(0, t + 2 - n - buffer.oldest) * lanes
        starts = range(buffer.oldest, buffer.oldest + buffer.steps)
        if not starts:
            continue
        position = [s % rows * lanes + lane for s in starts for lane in range(lanes)]
        batch = buffer.gather(torch.tensor(position).expand(members, -1))
        for m in range(members):
            for i, (s, lane) in enumerate((s, lane) for s in starts for lane in range(lanes)):
                wanted = expected(first, record, s, m * lanes + lane, n, 0.9)
                assert_equal(batch, (m, i), wanted)
                compared += 1
    assert compared > 1500 * members
    assert buffer.spare > 2


def test_draws_are_uniform_over_what_the_buffer_holds():
    lanes, rows, members = 3, 9, 2
    first, record = play(25, members * lanes)
    buffer = ReplayBuffer(first, members, rows, 2, 0.9)
    buffer.reserve(9)
    for t, step in enumerate(record):
        buffer.add(*step[:4], torch.full_like(step[4], t + 1), step[5])
    keys = rng.lane_keys([3, 4], 20_000, "replay").view(2, -1)
    batch = buffer.sample(rng.bits(keys, 5, 0))
    times = batch.obs[:, :, 0, 0].long()
    assert set(times.flatten().tolist()) == set(range(17, 24))  # 25 steps, 8 whole, 2 a return
    for member in range(members):
        counts = torch.bincount(times[member] - 17, minlength=7)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def config(policy, **changes):
    settings = {
        "num_envs": 4,
        "num_steps": 3,
        "replay_size": 48,
        "learning_starts": 1,
        "batch_size": 8,
        "replay_parts": 3,
        "gamma": 0.9,
        "replay_policy": policy,
    }
    return DQNConfig(**settings | changes)


def test_a_reservoir_keeps_every_step_with_the_same_probability():
    lanes, steps, slots = 4_000, 40, 12
    obs = torch.zeros(lanes, 1)
    setup = config("reservoir", num_envs=lanes, replay_size=lanes * slots)
    replay = make_replay(obs, setup, [7])
    zero = torch.zeros(lanes, dtype=torch.int64)
    for t in range(steps):
        done = torch.zeros(lanes, dtype=torch.bool)
        replay.add(zero, torch.full((lanes,), float(t)), done, done, obs, None)
    kept = replay.fields[0, :slots, :, 1].long()
    assert all(len(set(kept[:, lane].tolist())) == slots for lane in range(0, lanes, 50))
    counts = torch.bincount(kept.flatten(), minlength=steps).double().numpy()
    share = slots / steps
    spread = lanes * share * (1 - share) * steps / (steps - 1)  # drawn without replacement
    statistic = ((counts - lanes * share) ** 2).sum() / spread
    assert stats.chi2.sf(statistic, steps - 1) > 1e-3
    assert replay.size == slots * lanes


@pytest.mark.parametrize("n", [1, 3])
def test_a_partition_keeps_each_tasks_last_steps_until_its_part_is_taken(n):
    """48 transitions of 4 lanes in 3 parts: 4 steps of each of the last three tasks."""
    lanes, lengths = 4, (7, 2, 9, 6)
    first, record = play(sum(lengths), lanes)
    replay = make_replay(first, config("partition", n_steps=n), [0])
    replay.buffer.reserve(12)
    ends = np.cumsum(lengths)
    for t, step in enumerate(record):
        if t in ends:
            replay.switch()
        replay.add(*step)
    last = sum(lengths) - n  # the last start whose return is complete
    wanted = {*range(7, 9), *range(14, 18), *range(last - 3, last + 1)}
    assert replay.size == len(wanted) * lanes
    # all 32-bit words that integer() maps to 0, 1, ... size - 1
    words = (torch.arange(replay.size) * 2**32 // replay.size + 1).view(1, -1)
    batch = replay.sample(words)
    found = set()
    for i in range(replay.size):
        for start in wanted:
            for lane in range(lanes):
                obs = first if start == 0 else record[start - 1][4]
                if torch.equal(batch.obs[0, i], obs[lane]):
                    assert_equal(batch, (0, i), expected(first, record, start, lane, n, 0.9))
                    found.add((start, lane))
    assert found == {(start, lane) for start in wanted for lane in range(lanes)}
    assert float(replay.old_share()) == pytest.approx(6 / 10)


def test_a_flush_leaves_nothing_of_the_old_task_and_keep_leaves_all():
    first, record = play(9, 4)
    for policy, share, size in (("keep", 6 / 9, 36), ("flush", 0.0, 12)):
        replay = make_replay(first, config(policy), [0])
        replay.buffer.reserve(12)
        for t, step in enumerate(record):
            if t == 6:
                replay.switch()
            replay.add(*step)
        assert replay.size == size
        assert replay.old_share() == pytest.approx(share)


@pytest.mark.parametrize("policy", ["keep", "flush", "partition", "reservoir"])
@pytest.mark.parametrize("kind", [torch.float32, torch.uint8, torch.bool])
def test_a_saved_replay_goes_on_exactly(policy, kind):
    first, record = play(40, 8, kind=kind)
    setup = config(policy, n_steps=2)
    whole = make_replay(first, setup, [1, 2])
    whole.buffer.reserve(9)
    keys = rng.lane_keys([1, 2], 64, "replay").view(2, -1)
    copy = None
    for t, step in enumerate(record):
        if t in (9, 27):
            whole.switch()
            if copy is not None:
                copy.switch()
        if t == 21:
            copy = make_replay(first, setup, [1, 2])
            copy.load_state_dict(whole.state_dict())
        whole.add(*step)
        if copy is not None:
            copy.add(*step)
            one, two = (r.sample(rng.bits(keys, t, 0)) for r in (whole, copy))
            for field in dataclasses.fields(one):
                assert torch.equal(getattr(one, field.name), getattr(two, field.name))


def test_binary_observations_take_a_bit_each_in_a_checkpoint():
    obs = torch.rand(5, 7, 3, generator=torch.Generator().manual_seed(0)) < 0.3
    packed = pack(obs)
    assert packed["bits"].numel() == 14  # of 105
    assert torch.equal(unpack(packed), obs)


def test_a_replay_too_small_for_a_return_is_refused():
    with pytest.raises(ValueError, match="holds no return over 3"):
        ReplayBuffer(torch.zeros(4, 2), 1, 3, 3, 0.9)
    with pytest.raises(ValueError, match="replay_size 48 holds 44 transitions"):
        config("keep", learning_starts=45)
