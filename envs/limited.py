"""The base class of vector environments whose episodes may be limited."""

import copy
from collections.abc import Hashable
from typing import Any

from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv


class LimitedVectorEnv(VectorEnv[Any, Any, Any]):
    """A vector environment whose `spec` tells the limit of steps that holds.

    Attributes:
        max_steps: episodes are truncated after this many steps; None for no limit.
        switch_together: True if the tasks of all members switch at the same steps, as where there
            is but one task.
    """

    max_steps: int | None = None
    switch_together: bool = True
    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """Gymnasium's specification, with the limit in force as `max_episode_steps`."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = copy.deepcopy(spec)
        if self._spec is not None:
            self._spec.max_episode_steps = self.max_steps

    def steady(self, horizon: int) -> Hashable:
        """Decisions of the host in the next `horizon` steps; None: it decides at every step."""
        return None
