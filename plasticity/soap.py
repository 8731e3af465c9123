"""SOAP: Adam in the eigenbasis of Shampoo's preconditioners, for weights with a member axis.

    L <- beta2 L + (1 - beta2) g g^T      R <- beta2 R + (1 - beta2) g^T g
    g' = P^T g Q      v <- beta2 v + (1 - beta2) g'^2
    W <- W - lr P (P^T m Q / (sqrt v + eps)) Q^T

m is the mean of g; P and Q are the eigenvectors of L and R as of the last refresh, which takes one
step of power iteration and a QR decomposition, so that nothing waits for the host.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.plasticity.adamo import AdamO
from neoteny.plasticity.adamo_pull import Move
from neoteny.plasticity.gram import as_maps

DAMPING = 1e-3
"""Share of a preconditioner's mean eigenvalue that is added to all before a power iteration, so
that directions without gradient stay as they were instead of following rounding."""


class SOAP(AdamO):
    """SOAP for groups with `soap=True`, Adam for the others.

    Zeroed state is that of a new optimiser, in which the eigenbases are the identity, which is
    Adam; the authors begin with the first gradient's eigenvectors and leave out its step. At a
    refresh the second moments go to the new basis as if the entries of the gradient were not
    correlated; of directions that are new they are the product of the two preconditioners'
    eigenvalues. The authors permute them.

    Args:
        params: groups; those with `soap=True` hold weights (*members, out, in, ...).
        refresh: updates between two refreshes of the eigenbases.
        largest: most rows or columns of a weight that get an eigenbasis on their side.
        options: as in `AdamO`.

    Source: Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam" (2024).
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        *,
        refresh: int = 10,
        largest: int = 256,
        **options: Any,
    ) -> None:
        for name, value in {"refresh": refresh, "largest": largest}.items():
            if not (isinstance(value, int) and value >= 1):
                raise InputError(f"{name}={value!r} is not at least 1; give e.g. 10")
        own = {"refresh": refresh, "largest": largest, "taken": 0}
        super().__init__([{**own, **group} for group in params], isometry=0.0, **options)
        self.defaults.update(own)

    def _prepare(self, group: dict[str, Any]) -> tuple[list[Tensor], Move]:
        if not group.get("soap"):
            return super()._prepare(group)
        params = [p for p in group["params"] if p.grad is not None]
        return params, partial(self._soap_steps, group, params)

    def _soap_steps(self, group: dict[str, Any], params: list[Tensor]) -> None:
        group["taken"] += 1
        due = group["taken"] % group["refresh"] == 0
        for param in params:
            self._soap_step(group, param, due)

    def _state(self, group: dict[str, Any], param: Tensor, gradient: Tensor) -> dict[str, Tensor]:
        """State of a weight.

        What is in its eigenbasis has another shape, since resets of units forget entries of tensors
        of the weight's own.
        """
        state: dict[str, Tensor] = self.state[param]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=param.device)
            state["exp_avg"] = torch.zeros_like(param)
            state["rotated_sq"] = torch.zeros_like(gradient.flatten(-2))
            for side, size in (("left", gradient.shape[-2]), ("right", gradient.shape[-1])):
                if size <= group["largest"]:
                    square = gradient.new_zeros(*gradient.shape[:-2], size * size)
                    state[f"{side}_mean"] = square
                    state[f"{side}_turn"] = square.clone()  # eigenvectors minus the identity
        return state

    def _soap_step(self, group: dict[str, Any], param: Tensor, due: bool) -> None:
        assert param.grad is not None
        shape = (group["member_dims"], group["blocks"])
        gradient = as_maps(param.grad, *shape)
        state = self._state(group, param, gradient)
        beta1, beta2 = group["betas"]
        state["step"] += 1
        step = state["step"]
        state["exp_avg"].lerp_(param.grad, 1 - beta1)
        left, right = (_basis(state, side) for side in ("left", "right"))
        second = state["rotated_sq"].view_as(gradient)
        second.lerp_(_turn(gradient, left, right).square(), 1 - beta2)
        mean = _turn(as_maps(state["exp_avg"], *shape), left, right) / (1 - beta1**step)
        scaled = mean / ((second / (1 - beta2**step)).sqrt() + group["eps"])
        update = _turn_back(scaled, left, right)
        param.sub_(update.reshape(param.shape) * group["lr"])
        for side, outer in (("left", gradient), ("right", gradient.mT)):
            if f"{side}_mean" in state:
                product = (outer @ outer.mT).flatten(-2)
                state[f"{side}_mean"].lerp_(product, 1 - beta2)
        if due:
            _refresh(state, second, left, right)


def _square(flat: Tensor) -> Tensor:
    """View (..., n * n) as (..., n, n)."""
    size = round(flat.shape[-1] ** 0.5)
    return torch.unflatten(flat, -1, (size, size))


def _basis(state: dict[str, Tensor], side: str) -> Tensor | None:
    """Eigenvectors (..., n, n) of a side in columns, None if the side is too large."""
    if f"{side}_turn" not in state:
        return None
    turn = _square(state[f"{side}_turn"])
    return turn + torch.eye(turn.shape[-1], dtype=turn.dtype, device=turn.device)


def _turn(maps: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    """Maps (..., out, in) in the eigenbases."""
    maps = maps if left is None else left.mT @ maps
    return maps if right is None else maps @ right


def _turn_back(maps: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    """Maps (..., out, in) out of the eigenbases."""
    return _turn(maps, None if left is None else left.mT, None if right is None else right.mT)


def _refresh(
    state: dict[str, Tensor], second: Tensor, left: Tensor | None, right: Tensor | None
) -> None:
    """One power iteration of both eigenbases, and the second moments in the new ones."""
    moves: list[Tensor | None] = []
    kept, eigenvalues = [], []
    for side, basis, axis in (("left", left, -2), ("right", right, -1)):
        if basis is None:
            moves.append(None)
            kept.append(torch.ones_like(second.sum(-3 - axis)))
            eigenvalues.append(second.sum(-3 - axis))
            continue
        mean = _square(state[f"{side}_mean"])
        eye = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
        level = mean.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
        new, _ = torch.linalg.qr((mean + DAMPING * level * eye) @ basis)
        state[f"{side}_turn"].copy_((new - eye).flatten(-2))
        move = (new.mT @ basis).square()
        moves.append(move)
        kept.append(move.amax(-1))
        eigenvalues.append((new * (mean @ new)).sum(-2))
    carried = _turn(second, None if moves[0] is None else moves[0].mT, None)
    carried = carried if moves[1] is None else carried @ moves[1].mT
    rows, columns = eigenvalues
    total = rows.sum(-1)[..., None, None].clamp(min=torch.finfo(second.dtype).tiny)
    new_level = rows.unsqueeze(-1) * columns.unsqueeze(-2) / total
    share = kept[0].unsqueeze(-1) * kept[1].unsqueeze(-2)
    second.copy_(share * carried + (1 - share) * new_level)
