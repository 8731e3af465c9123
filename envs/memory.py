"""Memory that a state stays in, so that the operations of a step can be recorded and replayed."""

import torch
from torch import Tensor


class FixedMemory:
    """The memory of a state, which every step writes its new state over.

    Args:
        state: fields of the state, which are copied.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = {name: value.clone() for name, value in state.items()}
        self._places = {_place(value) for value in self.state.values()}

    def write(self, new: dict[str, Tensor]) -> dict[str, Tensor]:
        """Writes `new`, which may consist of parts of the old state; returns the state."""
        changed = [name for name, old in self.state.items() if new[name] is not old]
        if changed:
            values = [self.apart(new[name]) for name in changed]
            torch._foreach_copy_([self.state[name] for name in changed], values)
        return self.state

    def apart(self, value: Tensor) -> Tensor:
        """The value, copied if it lies in this memory, where the next `write` would change it."""
        return value.clone() if _place(value) in self._places else value


def _place(value: Tensor) -> int:
    return value.untyped_storage().data_ptr()
