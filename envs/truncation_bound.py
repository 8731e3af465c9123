"""Upper bounds on the truncations of host environments, from their limits of steps."""

import numpy as np
from numpy.typing import NDArray

from neoteny.core.errors import RunError


class TruncationBound:
    """Bound on the truncations of each lane, as long as only a limit of steps truncates.

    Args:
        lanes: L.
        limit: steps after which episodes are truncated; None if they may be truncated earlier.
        id: the environment's name in messages.

    Attributes:
        limit: None from the first earlier truncation on.
        elapsed: (L,) int64, steps of the episodes under way.
    """

    def __init__(self, lanes: int, limit: int | None, id: str) -> None:
        self.limit, self._id = limit, id
        self.elapsed = np.zeros(lanes, np.int64)
        # Truncations of each lane since somebody asked how many there could be, and the answer.
        self._truncations, self._promised = np.zeros(lanes, np.int64), np.inf

    def count(self, terminated: NDArray[np.bool_], truncated: NDArray[np.bool_]) -> None:
        """Counts a step of every lane.

        Args:
            terminated: (L,) bool.
            truncated: (L,) bool.

        Raises:
            RunError: if a lane was truncated more often than `most` said.
        """
        self.elapsed += 1
        self._truncations += truncated
        if self.limit is not None and (truncated & (self.elapsed < self.limit)).any():
            self._refuse_more(truncated)
            self.limit = None
        self.elapsed[terminated | truncated] = 0

    def _refuse_more(self, truncated: NDArray[np.bool_]) -> None:
        if (self._truncations > self._promised).any():
            steps = self.elapsed[truncated].min()
            raise RunError(
                f"{self._id} truncated an episode after {steps} steps, before its limit of"
                f" {self.limit}: make it with bounded=False, or --env-option bounded=false"
            )

    def most(self, horizon: int) -> int:
        """Upper bound on the truncations one lane can see within the next `horizon` steps.

        It has room for one truncation before the limit.
        """
        most = horizon
        if self.limit is not None:
            most = min(horizon, -(-horizon // self.limit) + (horizon > self.limit))
        self._truncations[:] = 0
        self._promised = most
        return most
