"""One Gymnasium environment held to the interface that it promises."""

import copy
import reprlib
import traceback
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from neoteny.core.errors import InputError

PARTS = {
    2: "(observation, info)",
    5: "(observation, reward, terminated, truncated, info)",
}
"""Results of `reset` and `step` in words, by the number of parts."""


class CheckedSingle(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Casts the values that an environment returns where that is safe, else names their fault.

    Rewards become floats and flags bools, also from arrays of one element; observations of a Box
    take its dtype where no value changes, and its shape where only axes of length 1 differ. The
    last observation of an episode is copied, since some environments write the next one over it.
    Infos are dropped. What the environment raises keeps its traceback and gains the id.

    Args:
        env: the environment.
        id: its name in messages.
        as_text: raise a RuntimeError with the traceback as its text instead: an exception may not
            survive the way from one process to another.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], id: str, as_text: bool = False) -> None:
        super().__init__(env)
        self._id, self._as_text = id, as_text
        self._box = env.observation_space if isinstance(env.observation_space, Box) else None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins an episode; the info is empty."""
        try:
            found = self.env.reset(seed=seed, options=options)
        except (Exception, SystemExit) as error:
            self._tell(error, "reset")
            raise
        obs, _ = self._parts("reset", found, 2)
        return self._seen(obs), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Plays one step; the info is empty."""
        try:
            found = self.env.step(action)
        except (Exception, SystemExit) as error:
            if isinstance(error, TypeError | ValueError | AssertionError) and _by_gymnasium(error):
                raise InputError(
                    f"{self._id}: step returned something else than {PARTS[5]}: {error}"
                ) from error
            self._tell(error, "step")
            raise
        obs, reward, terminated, truncated, _ = self._parts("step", found, 5)
        obs = self._seen(obs)
        ends = self._number("terminated", terminated), self._number("truncated", truncated)
        if any(ends):
            obs = copy.deepcopy(obs)
        return obs, float(self._number("reward", reward)), bool(ends[0]), bool(ends[1]), {}

    def _tell(self, error: BaseException, method: str) -> None:
        """Adds the id to an error, or raises what stands for it."""
        if self._as_text:
            raise RuntimeError(
                f"{self._id} raised {type(error).__name__} in {method}, in a process of its own:\n"
                f"{traceback.format_exc()}"
            ) from None
        if isinstance(error, SystemExit):  # would end the program as if all were well
            raise RuntimeError(f"{self._id} ended the program in {method}: {error!r}") from error
        error.add_note(f"raised in {method} by the environment {self._id}")

    def _parts(self, method: str, found: Any, count: int) -> Any:
        if isinstance(found, tuple) and len(found) == count and found[0] is not None:
            return found
        raise InputError(
            f"{self._id}: {method} returned {reprlib.repr(found)}, expected {PARTS[count]}"
        )

    def _number(self, name: str, value: Any) -> Any:
        """A number out of an array of one element."""
        if isinstance(value, bool | int | float):
            return value
        array = np.asarray(value)
        if array.size != 1 or array.dtype.kind not in "biuf":
            raise InputError(
                f"{self._id}: step returned {name} {reprlib.repr(value)}, expected one number"
            )
        return array.item()

    def _seen(self, obs: Any) -> Any:
        """The observation, as the space says where that is a Box."""
        box = self._box
        if box is None or (
            isinstance(obs, np.ndarray) and obs.dtype == box.dtype and obs.shape == box.shape
        ):
            return obs
        try:
            array = np.asarray(obs)
        except ValueError:  # rows of different lengths
            array = np.empty(0, object)
        long = [size for size in array.shape if size != 1]
        if array.dtype.kind not in "biuf" or long != [size for size in box.shape if size != 1]:
            raise InputError(
                f"{self._id} returned the observation {reprlib.repr(obs)} of shape {array.shape},"
                f" expected {box}"
            )
        return self._cast(array).reshape(box.shape)

    def _cast(self, array: NDArray[Any]) -> NDArray[Any]:
        assert self._box is not None
        dtype = self._box.dtype
        if dtype.kind == "f":
            return array.astype(dtype, copy=False)
        with np.errstate(invalid="ignore"):
            cast = array.astype(dtype)
        if not np.array_equal(cast, array):
            raise InputError(
                f"{self._id} returned the observation {reprlib.repr(array)}, which {dtype} cannot"
                f" hold, expected {self._box}"
            )
        return cast


def _by_gymnasium(error: BaseException) -> bool:
    """True if Gymnasium's own wrappers raised it, which take apart what an environment returns."""
    raised = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    package = Path(gymnasium.__file__).parent
    return raised.parent in (package / "wrappers", package / "utils")
