"""Timing of contenders in turns, so that all of them meet the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch


@dataclass(frozen=True)
class Window:
    """One timed piece of work."""

    amount: float
    """Units of work done, such as environment steps."""
    seconds: float


@dataclass(frozen=True)
class Contender:
    """Something to time: labels that tell it from others, and a window of its work."""

    labels: Mapping[str, object]
    window: Callable[[], Window]
    facts: Mapping[str, float] = field(default_factory=dict)
    """Figures that are known without timing, such as bytes; they go into every row."""


def prepare(threads: int | None) -> None:
    """Set this process up as the training command does; before anything is computed.

    Args:
        threads: For arithmetic on the CPU; None for all cores.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def synchronize(device: str) -> None:
    """Wait until the device has done what it was asked for."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def local(
    work: Callable[[], float], device: str = "cpu", seconds: float = 0.0
) -> Callable[[], Window]:
    """Time a function of this process.

    Args:
        work: Returns the amount of work it did.
        device: Where it does it.
        seconds: The work is done again until they have passed.
    """

    def window() -> Window:
        synchronize(device)
        started = time.perf_counter()
        amount = work()
        synchronize(device)
        while time.perf_counter() - started < seconds:
            amount += work()
            synchronize(device)
        return Window(amount, time.perf_counter() - started)

    return window


def take_turns(contenders: Iterable[Contender], windows: int) -> pd.DataFrame:
    """Time every contender, window by window in turns.

    Args:
        contenders: What to time.
        windows: Counted windows of each.

    Returns:
        A row a window: the labels, `window` (0 is the first call, which compiles and warms up and
        is not counted), `amount`, `seconds`, the facts.

    Raises:
        ValueError: If there are no windows.
    """
    if windows < 1:
        raise ValueError(f"windows is {windows}: it must be at least 1")
    contenders = list(contenders)
    rows = []
    for window in range(windows + 1):
        for contender in contenders:
            found = contender.window()
            rows.append(
                {
                    **contender.labels,
                    "window": window,
                    "amount": found.amount,
                    "seconds": found.seconds,
                    **contender.facts,
                }
            )
    return pd.DataFrame(rows)


def summarize(windows: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Median rate and spread of every contender.

    Args:
        windows: Rows of :func:`take_turns`.
        labels: The columns that tell contenders apart.

    Returns:
        A row a contender, in the order of their first windows: the labels, `median`, `lowest` and
        `highest` rate, `seconds` of the median window, the number of `windows`, and `first_call`,
        the seconds that the first call took longer than the median window.
    """
    counted = windows[windows["window"] > 0]
    groups = counted.assign(rate=counted["amount"] / counted["seconds"]).groupby(
        list(labels), sort=False, dropna=False
    )
    rates = groups["rate"]
    summary = pd.DataFrame(
        {
            "median": rates.median(),
            "lowest": rates.min(),
            "highest": rates.max(),
            "seconds": groups["seconds"].median(),
            "windows": rates.size(),
        }
    )
    first = windows[windows["window"] == 0].set_index(list(labels))["seconds"]
    summary["first_call"] = (first - summary["seconds"]).clip(lower=0.0)
    return summary.reset_index()


def paired_ratio(windows: pd.DataFrame, ours: pd.Series, theirs: pd.Series) -> tuple[float, ...]:
    """Ratio of two contenders' seconds per unit, window by window.

    Args:
        windows: Rows of :func:`take_turns`.
        ours: Which rows are the numerator's.
        theirs: Which rows are the denominator's.

    Returns:
        Median, lowest and highest ratio over the windows.
    """
    cost = windows["seconds"] / windows["amount"]
    counted = windows["window"] > 0
    ratio = cost[ours & counted].to_numpy() / cost[theirs & counted].to_numpy()
    median: float = pd.Series(ratio).median()
    return median, ratio.min(), ratio.max()
