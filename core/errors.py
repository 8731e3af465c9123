"""The one error for what a user gave wrongly."""

__all__ = ["InputError"]


class InputError(ValueError):
    """A value, file or option that a user gave cannot be used.

    The message is one whole line that names the value and the fix. The command line prints it
    without a traceback and exits with code 2; every other exception keeps its traceback, since it
    is a fault of this package or of foreign code.
    """
