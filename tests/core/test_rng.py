"""The counter hash: statistics of its words, exactness of what is derived from them."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from neoteny.core import rng

MASK = 2**32 - 1


def block(seeds=(0,), lanes=256, steps=64, slots=16, stream="env"):
    """Words of a block of counters, (lanes, steps, slots)."""
    keys = rng.lane_keys(seeds, lanes, stream)[:, None, None]
    return rng.bits(keys, torch.arange(steps)[:, None], torch.arange(slots))


def chi_square_score(counts):
    """Chi-square statistic against uniformity, in standard deviations from its mean."""
    expected = counts.sum() / counts.numel()
    degrees = counts.numel() - 1
    return float((((counts - expected) ** 2 / expected).sum() - degrees) / math.sqrt(2 * degrees))


def correlation(a, b):
    """Correlation of two sets of words in standard errors."""
    a, b = a.double().flatten() - 2**31, b.double().flatten() - 2**31
    return float((a * b).sum() / (a.norm() * b.norm()) * math.sqrt(a.numel()))


@pytest.mark.parametrize("shift", [0, 8, 16, 24])
def test_each_byte_is_uniform(shift):
    byte = (block() >> shift) & 255
    assert abs(chi_square_score(torch.bincount(byte.flatten(), minlength=256))) < 4


def test_pairs_of_consecutive_slots_steps_and_lanes_are_uniform():
    top = block() >> 27
    for pair in (
        top[:, :, 1:] * 32 + top[:, :, :-1],
        top[:, 1:] * 32 + top[:, :-1],
        top[1:] * 32 + top[:-1],
    ):
        assert abs(chi_square_score(torch.bincount(pair.flatten(), minlength=1024))) < 4


def test_every_bit_is_balanced_along_every_axis():
    words = block()
    for bit in range(32):
        ones = ((words >> bit) & 1).double() - 0.5
        assert abs(float(ones.sum())) < 5 * 0.5 * math.sqrt(words.numel())
        for axis in range(3):
            means = ones.mean(dim=[other for other in range(3) if other != axis])
            spread = 0.5 / math.sqrt(words.numel() / words.shape[axis])
            assert float(means.abs().max()) < 5 * spread


def test_no_serial_correlation_in_steps_slots_lanes_seeds_and_streams():
    words = block()
    for lag in (1, 2, 3, 7):
        assert abs(correlation(words[:, lag:], words[:, :-lag])) < 4
        assert abs(correlation(words[:, :, lag:], words[:, :, :-lag])) < 4
        assert abs(correlation(words[lag:], words[:-lag])) < 4
    for other in (block(seeds=(1,)), block(seeds=(2**40,)), block(stream="policy")):
        assert abs(correlation(words, other)) < 4
        assert int((words == other).sum()) <= 1


@pytest.mark.parametrize("argument", ["key", "step", "slot"])
def test_flipping_any_input_bit_flips_half_of_the_output(argument):
    keys = rng.lane_keys([3], 20_000, "env")
    step = torch.arange(20_000) * 7919 % 2**20
    words = rng.bits(keys, step, 5)
    for bit in range(62 if argument == "key" else 24):
        flipped = {
            "key": lambda flip: rng.bits(keys ^ flip, step, 5),
            "step": lambda flip: rng.bits(keys, step ^ flip, 5),
            "slot": lambda flip: rng.bits(keys, step, 5 ^ flip),
        }[argument](1 << bit)
        changed = ((words ^ flipped)[:, None] >> torch.arange(32)) & 1
        rates = changed.double().mean(dim=0)
        assert float((rates - 0.5).abs().max()) < 0.02, (argument, bit)


def test_words_equal_arithmetic_without_overflow():
    def mix(x):
        x ^= x >> 16
        x = x * 0x21F0AAAD & MASK
        x ^= x >> 15
        x = x * 0x2C1B3C6D & MASK
        return x ^ x >> 15

    keys = rng.lane_keys([11, 2**62], 50, "env")
    for step, slot in ((0, 0), (1, 0), (123_456, 31), (MASK, MASK)):
        expected = [
            mix(((mix((key ^ step * 0x1E3779B9) & MASK) ^ key >> 32) + slot * 0x5BD1E995) & MASK)
            for key in keys.tolist()
        ]
        assert rng.bits(keys, step, slot).tolist() == expected
        assert rng.bits(keys, torch.tensor(step), torch.tensor(slot)).tolist() == expected


def test_words_of_a_lane_do_not_depend_on_the_batch():
    words = block(seeds=(4, 5), lanes=64)
    torch.testing.assert_close(block(seeds=(4,), lanes=64), words[:64], rtol=0, atol=0)
    torch.testing.assert_close(block(seeds=(5,), lanes=8), words[64:72], rtol=0, atol=0)
    assert torch.equal(block(seeds=(4,), slots=3), block(seeds=(4,))[..., :3])


def test_keys_are_distinct_and_change_with_seed_and_stream():
    keys = torch.cat(
        [rng.lane_keys(range(64), 512, "env"), rng.lane_keys(range(64), 512, "policy")]
    )
    assert keys.unique().numel() == keys.numel()
    assert int(keys.min()) >= 0


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.1, 1 / 3, 0.5, 0.75, 1.0])
def test_bernoulli_agrees_with_the_uniform_of_the_half_integer(p):
    threshold = math.ceil(p * 2**32 - 0.5)
    near = [word for word in range(threshold - 3, threshold + 3) if 0 <= word <= MASK]
    words = torch.tensor([*near, 0, 1, 2**31, MASK])
    expected = [(word + 0.5) / 2**32 < p for word in words.tolist()]
    assert rng.bernoulli(words, p).tolist() == expected


def test_integer_and_uniform_cover_their_ranges_exactly():
    words = torch.tensor([0, 1, 2**31 - 1, 2**31, MASK - 1, MASK])
    for n in (1, 2, 5, 8, 1000, 2**31):
        assert rng.integer(words, n).tolist() == [word * n >> 32 for word in words.tolist()]
    counts = torch.bincount(rng.integer(block(), 7).flatten(), minlength=7)
    assert counts.numel() == 7
    assert abs(chi_square_score(counts)) < 4
    unit = rng.uniform(words)
    assert unit.dtype == torch.float32
    np.testing.assert_array_equal(unit, (words.numpy() >> 8) / 2**24)
    assert float(unit.max()) < 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rng.lane_keys([-1], 1, "env"), "seed -1"),
        (lambda: rng.lane_keys([2**63], 1, "env"), "out of range"),
        (lambda: rng.lane_keys([0], -2, "env"), "lanes is -2"),
        (lambda: rng.bernoulli(torch.zeros(1, dtype=torch.int64), 1.5), "probability 1.5"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_gaussian_noise_is_normal_and_belongs_to_a_member_and_a_draw():
    keys = rng.member_keys([torch.Generator().manual_seed(s) for s in (1, 2, 3)], "cpu")
    draw = rng.gaussian(keys, torch.tensor(7), 20_001)
    assert torch.equal(draw[1:2], rng.gaussian(keys[1:2], 7, 20_001))
    for row in draw:
        assert scipy.stats.kstest(row.numpy(), "norm").pvalue > 1e-3
    rows = torch.cat([draw, rng.gaussian(keys, 8, 20_001)])
    correlation = torch.corrcoef(rows) - torch.eye(6)
    assert correlation.abs().max() < 0.03
