"""Muon: momentum whose direction is orthogonalised, for weights with or without a member axis.

    M <- beta M + (1 - beta) g        U = Newton-Schulz((1 - beta) g + beta M)
    W <- (1 - lr * decay) W - lr * sqrt(max(1, out / in)) U

`torch.optim.Muon` takes 2-D weights only; here layers and members of one shape share each product.
With `isometry` the decoupled isometry step of AdamO comes first, which makes it MuonO.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.plasticity.adamo import AdamO
from neoteny.plasticity.adamo_pull import Move
from neoteny.plasticity.gram import as_maps
from neoteny.plasticity.polar import QUINTIC, newton_schulz


class Muon(AdamO):
    """Muon for groups with `muon=True`, Adam for the others, both with the isometry step.

    The norm of an update does not depend on the gradient's, so clipping the gradient's norm changes
    nothing for these weights, and `lr` is the spectral norm of an update: give such a group its
    own.

    Args:
        params: groups; those with `muon=True` hold weights (*members, out, in, ...).
        momentum: decay rate beta of the momentum.
        steps: number of Newton-Schulz steps.
        dtype: precision of the Newton-Schulz products; bfloat16 is the reference's.
        isometry: penalty coefficient of the isometry step; 0 takes none.
        options: as in `AdamO`; `weight_decay` is decoupled for Muon's groups.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        *,
        momentum: float = 0.95,
        steps: int = 5,
        dtype: torch.dtype = torch.float32,
        isometry: float = 0.0,
        **options: Any,
    ) -> None:
        own = {"momentum": momentum, "newton_schulz_steps": steps, "precision": str(dtype)}
        _check_own(own)
        super().__init__([{**own, **group} for group in params], isometry=isometry, **options)
        self.defaults.update(own)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Adam's looks for a count of steps in every state; weights with momentum alone have none.
        found = state["state"]
        uncounted = {p: own for p, own in found.items() if own and "step" not in own}
        counted = {p: own for p, own in found.items() if p not in uncounted}
        super().__setstate__({**state, "state": defaultdict(dict, counted)})
        self.state.update(uncounted)

    def _check(self, index: int, group: dict[str, Any]) -> None:
        super()._check(index, group)
        if group.get("muon"):
            _check_own(group)

    def _prepare(self, group: dict[str, Any]) -> tuple[list[Tensor], Move]:
        if not group.get("muon"):
            return super()._prepare(group)
        params = [p for p in group["params"] if p.grad is not None]
        if any(p.grad.is_sparse for p in params):
            raise InputError("Muon does not support sparse gradients: leave the weight out")
        return params, partial(self._muon_steps, group, params)

    def _muon_steps(self, group: dict[str, Any], params: list[Tensor]) -> None:
        shapes: dict[Any, list[Tensor]] = {}
        for param in params:
            shapes.setdefault((param.shape, param.dtype, param.device), []).append(param)
        for bucket in shapes.values():
            self._muon_step(group, bucket)

    def _muon_step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Step weights of one shape."""
        gradients = [p.grad for p in params if p.grad is not None]
        momentum = group["momentum"]
        moments = []
        for param in params:
            state: dict[str, Tensor] = self.state[param]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(param)
            moments.append(state["momentum_buffer"])
        torch._foreach_lerp_(moments, gradients, 1 - momentum)
        directions = torch._foreach_lerp(gradients, moments, momentum)
        matrices = torch.stack(
            [as_maps(d, group["member_dims"], group["blocks"]) for d in directions]
        )
        dtype = getattr(torch, group["precision"].removeprefix("torch."))
        updates = newton_schulz(matrices.to(dtype), group["newton_schulz_steps"], QUINTIC)
        out, inputs = matrices.shape[-2:]
        lr = group["lr"]
        scale = lr * math.sqrt(max(1.0, out / inputs))
        for param, update in zip(params, updates.to(params[0].dtype), strict=True):
            param.mul_(1 - lr * group["weight_decay"])
            param.sub_(update.view_as(param) * scale)


def _check_own(settings: Mapping[str, Any]) -> None:
    """Refuse settings of Muon's own that cannot work.

    Raises:
        ValueError: naming the value and the fix.
    """
    momentum, steps = settings["momentum"], settings["newton_schulz_steps"]
    if not (isinstance(momentum, float | int) and 0 <= momentum < 1):
        raise InputError(f"momentum={momentum!r} is not in [0, 1); give e.g. 0.95")
    if not (isinstance(steps, int) and steps >= 1):
        raise InputError(f"newton_schulz_steps={steps!r} is not at least 1; give e.g. 5")
    precision = settings["precision"]
    if precision not in ("torch.float32", "torch.bfloat16", "torch.float64", "torch.float16"):
        raise InputError(f"precision={precision!r} is no type of floats; give e.g. torch.float32")
