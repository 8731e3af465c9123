"""The errors that are shown to a user on one line, without a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """A value, file or option that a user gave cannot be used.

    The message is one whole line that names the value and the fix. The command line prints it
    without a traceback and exits with code 2; every other exception keeps its traceback, since it
    is a fault of this package or of foreign code.
    """


class RunError(RuntimeError):
    """A run cannot go on, through no fault of its code or of the user's input.

    The disk is full, the run's folder is gone, or no member has finite weights any more. The
    message is one whole line that says what is left and what to do; the command line prints it and
    exits with code 1.
    """


class FrozenError(RunError):
    """No member of a run has finite gradients any more; other runs may still go on."""


@contextmanager
def error_context(*place: str) -> Iterator[None]:
    """Puts the place in front of the message of an InputError that is raised inside.

    Args:
        *place: file, key or stream, from the outermost one on.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{': '.join(place)}: {error}") from error
