"""Names of types in the signatures of wrappers, where Gymnasium and torch leave the inside open."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv

Picture: TypeAlias = npt.NDArray[np.uint8]
"""A frame, (height, width, 3)."""
AnySpace: TypeAlias = gymnasium.Space[Any]
AnyEnv: TypeAlias = gymnasium.Env[Any, Any]
AnyVectorEnv: TypeAlias = VectorEnv[Any, Any, Any]
Info: TypeAlias = dict[str, Any]
"""Information that `reset` and `step` return beside the transition."""
ResetOptions: TypeAlias = dict[str, Any]
"""Options of `reset`, such as `reset_mask`."""
State: TypeAlias = dict[str, Any]
"""Return value of `state_dict`: tensors and plain values, which `torch.save` writes."""
Content: TypeAlias = Mapping[str, Any]
"""A part of a stream file: keys and values, not yet checked."""
Options: TypeAlias = dict[str, Any]
"""Options of an environment by name."""
Description: TypeAlias = dict[str, Any]
"""A schedule, a change or a stream in JSON types."""
