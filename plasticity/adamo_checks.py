"""Checks of AdamO's settings, and of the weights that it is about to pull."""

import logging
import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.plasticity.gram import Scale, as_maps, target
from neoteny.plasticity.isometry import DEFAULT_ISOMETRY, effective_strength, half_life

logger = logging.getLogger(__name__)


def pull_settings(
    isometry: float | None,
    updates: float | None,
    lr: float | Tensor,
    isometry_lr: float | None,
    scale: Scale,
) -> tuple[float, float | None]:
    """Settings of an isometry step that is given by its strength or by its half-life.

    Args:
        isometry: penalty coefficient lambda; None asks for the default, or what the half-life says.
        updates: half-life of a small deviation of a singular value, in updates, whatever `lr`
            becomes; None lets `isometry` decide.
        lr: learning rate; a tensor is read for a half-life.
        isometry_lr: step size of the isometry step; None takes `lr` as it is now.
        scale: target squared singular value, or "free".

    Returns:
        `isometry` and `isometry_lr`.

    Raises:
        ValueError: if both are given, the half-life or the step size is not above 0, or the
            half-life is so short that the step diverges.
    """
    if updates is None:
        return DEFAULT_ISOMETRY if isometry is None else isometry, isometry_lr
    if isometry is not None:
        raise InputError(
            f"half_life={updates!r} decides and isometry={isometry!r} would be unused: give one of"
            " them"
        )
    if not (_is_number(updates) and 0 < updates < math.inf):
        raise InputError(f"half_life={updates!r} is not a finite number of updates > 0; give one")
    rate = float(lr) if isometry_lr is None else isometry_lr
    if not (_is_number(rate) and 0 < rate < math.inf):
        raise InputError(
            f"half_life={updates:g} cannot be had with a step size of {rate!r}: give isometry_lr"
        )
    check_pull({"lr": rate, "isometry_lr": None, "isometry": 0.0, "scale": scale})
    found = half_life(effective_strength(rate, 1.0), scale) / updates
    excess = effective_strength(rate, found) * target(scale)
    if excess >= 1:
        raise InputError(
            f"half_life={updates:g} is too short, the isometry step diverges: give more than "
            f"{updates * excess:.3g}"
        )
    return found, rate


def warn_of_bare(group: dict[str, Any]) -> None:
    """Log which weights an optimiser pulls that was handed parameters without names or roles."""
    strength = check_pull(group)
    weights = [p for p in group["params"] if p.dim() >= group["member_dims"] + 2]
    if not strength or len(weights) < 2:
        return
    shapes = [str(tuple(weight.shape)) for weight in weights]
    shown = ", ".join(shapes[:6]) + (", ..." if len(shapes) > 6 else "")
    logger.warning(
        "AdamO pulls all %d matrices towards isometry, output heads among them, with a half-life "
        "of %s updates: %s; give isometry_groups(module) or module.named_parameters() to leave "
        "heads out; in Stable-Baselines3 drop optimizer_class=AdamO and use IsometryCallback",
        len(weights),
        f"{half_life(strength, group['scale']):,.0f}",
        shown,
    )


def check_pull(settings: dict[str, Any]) -> float:
    """Effective strength of an isometry step.

    Args:
        settings: `lr`, a number or a tensor with one, `isometry_lr`, `isometry` and `scale`.

    Raises:
        ValueError: if one is out of range or the step diverges; it names the value and the fix.
    """
    lr, scale, isometry = settings["lr"], settings["scale"], settings["isometry"]
    if isinstance(lr, Tensor):
        if lr.numel() != 1:
            raise InputError(f"lr has shape {tuple(lr.shape)}: a tensor lr has one element")
        lr = lr.item()
    isometry_lr = lr if settings["isometry_lr"] is None else settings["isometry_lr"]
    _check_numbers({"lr": lr, "isometry": isometry, "isometry_lr": isometry_lr})
    if not (scale == "free" or (_is_number(scale) and 0 < scale < math.inf)):
        raise InputError(f"scale={scale!r} is not a finite number > 0, or 'free'; give e.g. 1.0")
    strength, goal = effective_strength(isometry_lr, isometry), target(scale)
    if strength * goal >= 1:
        raise InputError(
            f"4 * lr {isometry_lr:g} * isometry {isometry:g} * scale {goal:g} = "
            f"{strength * goal:g} >= 1: the isometry step diverges; "
            f"lower isometry below {1 / (4 * isometry_lr * goal):g}"
        )
    return strength


def check_settings(settings: dict[str, Any]) -> None:
    """Refuse settings that cannot work.

    Args:
        settings: of a group; a learning rate on an accelerator is read, which waits for it.

    Raises:
        ValueError: naming the value and the fix.
    """
    check_pull(settings)
    _check_numbers({name: settings[name] for name in ("eps", "weight_decay")})
    for name, least in (("member_dims", 0), ("blocks", 1)):
        count: Any = settings[name]
        if not (_is_number(count) and isinstance(count, int) and count >= least):
            raise InputError(f"{name}={count!r} is not a whole number >= {least}; give one")
    betas = settings["betas"]
    if not (isinstance(betas, Sequence) and len(betas) == 2 and all(map(_is_rate, betas))):
        raise InputError(f"betas={betas!r} are not two numbers in [0, 1); give e.g. (0.9, 0.999)")


@torch.no_grad()
def safe_strength(
    weights: Iterable[Tensor],
    strength: float,
    scale: Scale = 1.0,
    member_dims: int = 0,
    blocks: int = 1,
) -> float:
    """Strength of the isometry step up to which weights need not be looked at again.

    The step takes a singular value sigma to sigma * (1 - a * (sigma^2 - scale)), which is larger
    than before, and ever larger from then on, where a * (sigma^2 - scale) > 2. Singular values are
    computed only where the Frobenius norm does not exclude that.

    Args:
        weights: (*members, out, in, ...); those with fewer dimensions take no step. A member with
            non-finite weights, as one that was frozen, has no say.
        strength: the effective strength a that is about to be used.
        scale: target squared singular value; to a step of free scale no weight is too large.
        member_dims: number of leading member axes.
        blocks: number of maps stacked along `out`, see `as_maps`.

    Returns:
        A strength of at least `strength`.

    Raises:
        ValueError: if the step would make a weight larger without bound, in every member.
    """
    safe = math.inf
    if scale == "free":
        return safe
    for weight in weights:
        if weight.dim() < member_dims + 2:
            continue
        wide = torch.complex128 if weight.is_complex() else torch.float64
        maps = as_maps(weight, member_dims, blocks).cpu().to(wide)
        maps = maps.where(maps.isfinite().all(-1, keepdim=True).all(-2, keepdim=True), 0)
        excess = _smallest(torch.linalg.matrix_norm(maps), member_dims) - scale
        if strength * excess <= 1:
            safe = min(safe, 1 / excess if excess > 0 else math.inf)
            continue
        largest = _smallest(torch.linalg.matrix_norm(maps, 2), member_dims)
        if strength * (largest - scale) > 2:
            raise InputError(
                f"a weight of shape {tuple(weight.shape)} has the squared singular value "
                f"{largest:g}: an isometry step of strength 4 * lr * isometry = {strength:g} makes "
                f"it larger without bound; lower isometry by a factor of "
                f"{math.ceil(strength * (largest - scale) / 2)} or more, make the weight smaller, "
                "or set isometry=0 for it"
            )
        safe = min(safe, strength)
    return safe


def _smallest(norms: Tensor, member_dims: int) -> float:
    """The square of the largest norm of a member's maps, in the member where it is smallest."""
    by_member = norms.flatten(member_dims).amax(-1) if norms.dim() > member_dims else norms
    return by_member.square().min().item()


def _check_numbers(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if not (_is_number(value) and 0 <= value < math.inf):
            raise InputError(f"{name}={value!r} is not a finite number >= 0; give one")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_rate(value: Any) -> bool:
    """True for a number in [0, 1), or a tensor of one."""
    return (isinstance(value, Tensor) or _is_number(value)) and bool(0 <= value < 1)
