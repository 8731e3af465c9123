"""What happens to the episodes under way when the task is switched."""

from typing import Literal, get_args

from neoteny.core.errors import InputError

OnSwitch = Literal["reset", "latch", "now"]


def check_mode(on_switch: str) -> None:
    """Refuse an unknown mode.

    Raises:
        ValueError: naming the modes there are.
    """
    if on_switch not in get_args(OnSwitch):
        modes = ", ".join(get_args(OnSwitch))
        raise InputError(f"on_switch must be one of {modes}, got {on_switch!r}")
