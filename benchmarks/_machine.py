"""Measured ceilings of a device: rates of matrix products, and bandwidths of copies."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd
import torch
from _costs import Operation, Product
from _measure import Contender, local, take_turns

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SMALLEST, LARGEST = 14, 28
"""Powers of two of the bytes that copies are timed with."""
SECONDS = 0.01
"""What a window lasts."""


class Machine:
    """Measured ceilings of a device; each is the best of several windows.

    Args:
        device: What to measure.
        windows: Windows of each ceiling.
        side: Side of the square product that stands for the peak.
    """

    def __init__(self, device: str, windows: int, side: int = 2048) -> None:
        self.device = device
        self.side = side
        self.windows = windows
        self._rates: dict[Product, float] = {}
        self._bandwidths: dict[int, float] = {}

    def rate(self, product: Product) -> float:
        """Operations per second of a batched product."""
        if product not in self._rates:
            dtype = DTYPES[product.precision]
            a, b = (
                torch.randn(product.batch, *shape, device=self.device).to(dtype)
                for shape in ((product.rows, product.inner), (product.inner, product.columns))
            )
            out = torch.bmm(a, b)
            work = self._best(lambda: torch.bmm(a, b, out=out))
            self._rates[product] = product.flops * work
        return self._rates[product]

    def bandwidth(self, moved: float) -> float:
        """Bytes per second, read and written, of a copy that moves about as many bytes."""
        power = min(max(round(math.log2(max(moved, 1))), SMALLEST), LARGEST)
        if power not in self._bandwidths:
            source = torch.zeros(2 ** (power - 1), dtype=torch.uint8, device=self.device)
            target = torch.empty_like(source)
            self._bandwidths[power] = 2**power * self._best(lambda: target.copy_(source))
        return self._bandwidths[power]

    def peak(self, precision: str) -> float:
        """Operations per second of a large square product, or of a faster one in use."""
        cube = self.rate(Product(1, self.side, self.side, self.side, precision))
        own = [rate for product, rate in self._rates.items() if product.precision == precision]
        return max([cube, *own])

    def floor(self, operation: Operation) -> float:
        """Seconds that an operation takes at the ceilings, each time."""
        if operation.product is not None:
            return operation.flops / self.rate(operation.product)
        return operation.bytes / self.bandwidth(operation.bytes)

    def _best(self, work: Callable[[], object]) -> float:
        """Most calls per second of the windows."""

        def once() -> int:
            work()
            return 1

        timed = local(once, self.device)
        timed()
        repeats = max(1, int(SECONDS / timed().seconds))

        def window() -> int:
            for _ in range(repeats):
                work()
            return repeats

        found = take_turns([Contender({}, local(window, self.device))], self.windows)
        return float((found["amount"] / found["seconds"]).max())

    def ceilings(self) -> pd.DataFrame:
        """What was measured: a row a product and a size of copy."""
        rates, widest = dict(self._rates), max(self._bandwidths.values(), default=1.0)
        rows = [
            (
                f"{p.batch} x ({p.rows} x {p.inner}) ({p.inner} x {p.columns}), {p.precision}",
                rate / 1e9,
                "GFLOP/s",
                rate / self.peak(p.precision),
            )
            for p, rate in rates.items()
        ]
        rows += [
            (f"copy that moves {2 ** (power - 10):,} KiB", rate / 2**30, "GiB/s", rate / widest)
            for power, rate in sorted(self._bandwidths.items())
        ]
        return pd.DataFrame(rows, columns=["ceiling", "rate", "unit", "of the fastest"])
