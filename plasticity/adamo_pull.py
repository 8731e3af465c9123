"""The isometry step of a group of AdamO: its strength, and the parameters that take it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.plasticity.adamo_checks import check_pull
from neoteny.plasticity.gram import as_maps, target
from neoteny.plasticity.isometry import isometry_step, require_full_precision

Move = Callable[[], None]

# Stacking equal shapes saves kernel launches and costs a copy, which on CPU loses above this size.
_STACK_NUMEL = {"cpu": 1 << 15}
_STACK_NUMEL_DEFAULT = 1 << 20


def together(params: list[Tensor], group: dict[str, Any]) -> list[list[Tensor]]:
    """Lists of parameters whose isometry step is worth one batched product.

    Args:
        params: those of a group that have gradients.
        group: the settings.

    Raises:
        ValueError: if `blocks` does not suit a parameter, or one has less than full precision.
    """
    matrices = [param for param in params if param.dim() >= group["member_dims"] + 2]
    alike = worth_stacking(matrices, group["foreach"] is not False)
    buckets = [[matrices[place] for place in places] for places in alike]
    for bucket in buckets:
        as_maps(bucket[0], group["member_dims"], group["blocks"])
        require_full_precision(bucket[0])
    return buckets


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
    """Take the isometry step of all parameters of a group."""
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
