"""Checks of the numbers that schedules and changes are built from."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from neoteny.core.errors import InputError


def whole_number(**values: Any) -> None:
    """Refuse what is not a whole number above 0; None passes.

    Raises:
        ValueError: naming the value and its name.
    """
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise InputError(f"{name} must be a whole number, got {value!r}; give at least 1")
        if value <= 0:
            raise InputError(f"{name} must be positive, got {value}; give at least 1")


def real_levels(name: str, values: Any) -> tuple[float, ...]:
    """One finite number a task, as a tuple; a single number serves all tasks.

    Raises:
        ValueError: there is none, or one is not a finite number.
    """
    given = values if isinstance(values, Sequence) and not isinstance(values, str) else (values,)
    if not given or not all(_is_real(value) for value in given):
        raise InputError(f"{name} must be finite numbers, one a task, got {values!r}")
    return tuple(float(value) for value in given)


def probabilities(name: str, values: Any) -> tuple[float, ...]:
    """One probability a task, as a tuple; a single number serves all tasks.

    Raises:
        ValueError: there is none, or one is outside [0, 1].
    """
    found = real_levels(name, values)
    if not all(0 <= value <= 1 for value in found):
        raise InputError(f"{name} must lie in [0, 1], got {values!r}")
    return found


def not_negative(name: str, value: Any) -> None:
    """Refuse what is not a finite number of at least 0.

    Raises:
        ValueError: naming the value and its name.
    """
    if not _is_real(value) or value < 0:
        raise InputError(f"{name} must not be negative, got {value!r}; give 0 or more")


def _is_real(value: Any) -> bool:
    real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return real and math.isfinite(value)
