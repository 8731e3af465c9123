"""Random numbers as a pure function of (seed, stream, lane, step, slot).

A counter-based generator: nothing is stored, so the numbers of a lane do not depend on the batch
it is stepped in, on the device, on the compile mode or on what other lanes draw, and a resumed run
continues exactly. The 32-bit arithmetic runs in int64 with multipliers below 2**31, so that no
product reaches 2**63: signed overflow is undefined in compiled C++.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from neoteny.core.errors import InputError

_MASK = 0xFFFFFFFF
# Multipliers and shifts were picked by a search over products below 2**31 for the smallest
# avalanche bias: root mean square 2e-4 or less over all (input bit, output bit) pairs.
_FIRST = 0x21F0AAAD
_SECOND = 0x2C1B3C6D
# Odd strides spread consecutive counters over the 32-bit ring before mixing.
_STEP = 0x1E3779B9
_SLOT = 0x5BD1E995


def lane_keys(
    seeds: Sequence[int],
    lanes: int,
    stream: str,
    device: torch.device | str = "cpu",
    first: int = 0,
) -> Tensor:
    """Makes one key per lane, for `bits`.

    Args:
        seeds: one non-negative seed per member.
        lanes: number of lanes of each member.
        stream: name of the stream, such as "env" or "policy". Streams of one seed are
            statistically independent.
        device: device of the result.
        first: index of the first lane within its member.

    Returns:
        Keys of 63 bits, (members * lanes,) int64, member-major. The key of a lane depends on its
        member's seed, the stream and the lane's index within the member, not on the batch.

    Raises:
        ValueError: for a seed outside [0, 2**63) or a negative number of lanes.
    """
    for seed in seeds:
        if not 0 <= seed < 2**63:
            raise InputError(f"seed {seed} is out of range: use an integer in [0, 2**63)")
    if lanes < 0:
        raise InputError(f"lanes is {lanes}: it must be at least 0")
    name = int.from_bytes(hashlib.blake2b(stream.encode(), digest_size=8).digest(), "little")
    base = _splitmix(np.array([int(seed) for seed in seeds], np.uint64) ^ np.uint64(name))
    index = np.arange(first, first + lanes, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    keys = _splitmix(base[:, None] ^ _splitmix(index)) >> np.uint64(1)
    return torch.from_numpy(keys.astype(np.int64).reshape(-1)).to(device)


def _splitmix(x: np.ndarray) -> np.ndarray:
    """Finaliser of SplitMix64 (Steele, Lea and Flood, 2014): a bijection on uint64 arrays."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def bits(keys: Tensor, step: Tensor | int, slot: Tensor | int) -> Tensor:
    """Hashes (key, step, slot) to 32 random bits; the arguments broadcast.

    The step is mixed at its own, smaller shape first, so drawing many slots of one step costs one
    mix per slot: `bits(keys, t, torch.arange(slots)[:, None])` has shape (slots, lanes).

    Args:
        keys: keys from `lane_keys` or `member_keys`, int64.
        step: counter in [0, 2**32), such as a lane's number of steps so far.
        slot: index of the draw within the step, in [0, 2**32).

    Returns:
        int64 in [0, 2**32), of the broadcast shape.
    """
    # The upper half of the key enters between the two mixes: with 32-bit keys alone, all lanes
    # would walk one ring and two of them could repeat each other at a lag.
    word = _mix((keys ^ (step * _STEP)) & _MASK) ^ (keys >> 32)
    return _mix((word + slot * _SLOT) & _MASK)


class WordsAhead:
    """Random words of a batch's steps, computed for several steps at once in small batches.

    Lanes that all go on by one step at a time need a hash a step: some thirty operations, whose
    fixed cost is most of the time when lanes are few. Here the words of the coming steps, at most
    `ROOM`, are computed together: the same words by fewer operations.

    Args:
        keys: keys from `lane_keys`, (L,) int64.
        slots: S, words a step.
    """

    ROOM: ClassVar[dict[str, int]] = {"cpu": 1 << 14}
    """Words that are computed at once, by type of device; on a CPU they fit the cache."""
    ROOM_ELSEWHERE = 1 << 18
    LONGEST = 64
    """Most steps at once."""

    def __init__(self, keys: Tensor, slots: int) -> None:
        self._keys = keys
        self._slots = torch.arange(slots, device=keys.device)[:, None]
        room = self.ROOM.get(keys.device.type, self.ROOM_ELSEWHERE)
        most = min(self.LONGEST, room // max(1, slots * len(keys)))
        self._coming = torch.arange(max(1, most), device=keys.device)[:, None, None]
        self._words: Sequence[Tensor] = ()
        self._step: Tensor | None = None
        self._place = 0
        self.ahead = True
        """False if each step computes its own words, as one that is recorded must."""

    def at(self, step: Tensor) -> Tensor:
        """Words (S, L) of the lanes' steps (L,), as `bits` gives them."""
        if not self.ahead or torch.compiler.is_compiling():
            return bits(self._keys, step, self._slots)
        known = step is self._step
        if not known or self._place == len(self._words):
            # Twice as far after each run without a jump, so that jumps waste little.
            coming = self._coming[: 2 * len(self._words) if known else 1]
            self._words = bits(self._keys, step + coming, self._slots).unbind()
            self._step, self._place = step, 0
        return self._words[self._place]

    def follow(self, step: Tensor, following: Tensor) -> None:
        """Says that `following` is `step` plus one in every lane.

        Steps are known by the tensors that hold them, which must not be changed in place.
        """
        if not torch.compiler.is_compiling() and step is self._step:
            self._step, self._place = following, self._place + 1


def _mix(x: Tensor) -> Tensor:
    """Bijection on 32-bit words held in int64: xor-shift and multiply, twice."""
    x = x ^ (x >> 16)
    x = x.mul_(_FIRST).bitwise_and_(_MASK)
    x = x.bitwise_xor_(x >> 15)
    x = x.mul_(_SECOND).bitwise_and_(_MASK)
    return x.bitwise_xor_(x >> 15)


def member_keys(generators: Sequence[torch.Generator], device: torch.device | str) -> Tensor:
    """Draws one key a member, (M,) int64 in [0, 2**32), from the members' generators."""
    draws = [torch.randint(0, _MASK + 1, (), generator=generator) for generator in generators]
    return torch.stack(draws).to(device)


def uniform(words: Tensor) -> Tensor:
    """Maps 32-bit words to float32 in [0, 1), a multiple of 2**-24."""
    return (words >> 8).to(torch.float32) * 2.0**-24


def bernoulli(words: Tensor, p: float) -> Tensor:
    """Maps 32-bit words to bool, True with probability p to within 2**-33.

    It is an integer comparison, the same on every device.

    Raises:
        ValueError: for p outside [0, 1].
    """
    if not 0.0 <= p <= 1.0:
        raise InputError(f"probability {p} is out of range: use a number in [0, 1]")
    return words < math.ceil(p * 2**32 - 0.5)


def integer(words: Tensor, n: Tensor | int) -> Tensor:
    """Maps 32-bit words to int64 in [0, n), n up to 2**31; the bias is at most n / 2**32."""
    if isinstance(n, int) and n > 0 and n & (n - 1) == 0:
        return words >> (33 - n.bit_length())
    return (words * n) >> 32


def gaussian(keys: Tensor, step: Tensor | int, count: int) -> Tensor:
    """Draws standard normal numbers.

    Args:
        keys: (M,) int64 from `member_keys`.
        step: number of the draw; a 0-dim tensor is never read by the host.
        count: numbers per member.

    Returns:
        (M, count) float32.
    """
    pairs = (count + 1) // 2
    words = bits(keys.unsqueeze(1), step, torch.arange(2 * pairs, device=keys.device))
    spread = ((words >> 8).to(torch.float32) + 0.5) * 2.0**-24  # in (0, 1)
    radius = spread[:, :pairs].log_().mul_(-2).sqrt_()
    angle = spread[:, pairs:].mul_(2 * math.pi)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], 1)[:, :count]
