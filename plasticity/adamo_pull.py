"""The isometry step of a group of AdamO: its strength, and the parameters that take it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any, Self

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.plasticity.adamo_checks import check_pull
from neoteny.plasticity.gram import as_maps, target
from neoteny.plasticity.isometry import isometry_step

__all__ = ["Move", "Plan", "pull", "stay", "strength_of", "worth_stacking"]

Move = Callable[[], None]

# Stacking equal shapes saves kernel launches and costs a copy, which on CPU loses above this size.
_STACK_NUMEL = {"cpu": 1 << 15}
_STACK_NUMEL_DEFAULT = 1 << 20

_SHAPING = ("member_dims", "blocks", "foreach")
"""Settings that say which parameters take their isometry step together."""


@dataclass
class Plan:
    """Parameters of a group that take their isometry step together."""

    params: list[Tensor]
    shaping: list[Any]
    buckets: list[list[Tensor]]

    @classmethod
    def of(cls, params: list[Tensor], group: dict[str, Any]) -> Self:
        """The plan of a group, after a check that `blocks` suits its parameters.

        Args:
            params: those of the group that have gradients.
            group: the settings.
        """
        plan = cls(params, [group[name] for name in _SHAPING], list(_buckets(params, group)))
        for bucket in plan.buckets:
            as_maps(bucket[0], group["member_dims"], group["blocks"])
        return plan

    def fits(self, params: list[Tensor], group: dict[str, Any]) -> bool:
        """True if the plan is for these parameters and settings."""
        return (
            len(params) == len(self.params)
            and self.shaping == [group[name] for name in _SHAPING]
            and all(map(is_, params, self.params))
        )


def _buckets(params: list[Tensor], group: dict[str, Any]) -> Iterator[list[Tensor]]:
    """Lists of parameters whose isometry step is worth one batched product."""
    matrices = [param for param in params if param.dim() >= group["member_dims"] + 2]
    for alike in worth_stacking(matrices, group["foreach"] is not False):
        yield [matrices[place] for place in alike]


def worth_stacking(weights: Sequence[Tensor], stack: bool = True) -> Iterator[list[int]]:
    """Places of weights of one shape that are worth one batched product, together all of them.

    Args:
        weights: of any shapes.
        stack: False to leave each alone.
    """
    shapes: dict[Any, list[int]] = {}
    for place, weight in enumerate(weights):
        shapes.setdefault((weight.shape, weight.dtype, weight.device), []).append(place)
    for (shape, _, device), places in shapes.items():
        limit = _STACK_NUMEL.get(device.type, _STACK_NUMEL_DEFAULT)
        if not stack or shape.numel() > limit:
            yield from ([place] for place in places)
        else:
            yield places


def stay() -> None:
    """No step."""


def pull(buckets: list[list[Tensor]], strength: float | Tensor, group: dict[str, Any]) -> None:
    """Take the isometry step of all parameters of a plan."""
    for bucket in buckets:
        isometry_step(bucket, strength, group["scale"], group["member_dims"], group["blocks"])


def strength_of(group: dict[str, Any], params: list[Tensor]) -> float | Tensor:
    """Effective strength of a group's isometry step.

    Raises:
        ValueError: if it diverges, as far as the host can see without waiting, or Adam's step
            cannot follow it.
    """
    lr = group["lr"] if group["isometry_lr"] is None else group["isometry_lr"]
    strength: float | Tensor = lr * (4.0 * group["isometry"])
    if isinstance(strength, Tensor):
        strength = strength.squeeze()
    seen = not isinstance(strength, Tensor) or strength.device.type == "cpu"
    if seen and not 0 <= strength * target(group["scale"]) < 1:
        check_pull(group)
    if group["differentiable"]:
        raise InputError("the isometry step is not differentiated: set isometry=0")
    on_host = group["capturable"] and not group["fused"] and not torch.compiler.is_compiling()
    if on_host and any(param.device.type == "cpu" for param in params):
        raise InputError("capturable=True needs parameters on an accelerator: set it to False")
    return strength
