"""The errors that are shown to a user on one line, without a traceback."""

__all__ = ["FrozenError", "InputError", "RunError"]


class InputError(ValueError):
    """A value, file or option that a user gave cannot be used.

    The message is one whole line that names the value and the fix. The command line prints it
    without a traceback and exits with code 2; every other exception keeps its traceback, since it
    is a fault of this package or of foreign code.
    """


class RunError(RuntimeError):
    """A run cannot go on, through no fault of its code or of what the user gave.

    The disk is full, the run's folder is gone, or no member has finite weights any more. The
    message is one whole line that says what is left and what to do; the command line prints it and
    exits with code 1.
    """


class FrozenError(RunError):
    """No member of a run has finite gradients any more; other runs may still go on."""
