"""Parameters split by the role of their layer, for optimisers that keep hidden layers isometric."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from neoteny.core.errors import InputError
from neoteny.plasticity.layers import IsoConv2d, IsoLinear

__all__ = ["CONVOLUTIONS", "isometry_groups"]

CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


def isometry_groups(
    module: nn.Module, exclude: Iterable[nn.Module | str] = ()
) -> list[dict[str, Any]]:
    """Split a module's trainable parameters into groups for `AdamO` by the role of their layer.

    Hidden weights are those of `IsoLinear` and `IsoConv2d` with role "hidden", and those of plain
    `nn.Linear`, `nn.Conv*d`, `nn.ConvTranspose*d` and `nn.MultiheadAttention`, which declare no
    role: exclude output heads among them. Each group of a convolution is a map of its own, as are
    the projections of queries, keys and values. Everything else (biases, norms, embeddings,
    recurrent layers, weights behind a parametrisation such as `weight_norm`, heads, excluded
    modules) goes into one group with isometry 0. A weight shared between a hidden layer and
    anything else counts as excluded.

    Args:
        module: the network.
        exclude: modules, or their names in `module.named_modules()`; what they hold is left out.

    Returns:
        Parameter groups: hidden weights (one group per number of member axes and of `blocks`, if
        any) without an `isometry` key, so that the optimiser's own holds; then the rest, if any,
        with isometry 0.

    Raises:
        ValueError: if `exclude` names something that is not in the module.
    """
    excluded = _excluded(module, exclude)
    hidden: dict[nn.Parameter, tuple[int, int]] = {}
    rest: dict[nn.Parameter, None] = {}
    for layer in module.modules():
        maps = {} if layer in excluded else _hidden_maps(layer)
        for name, param in layer.named_parameters(recurse=False):
            if not param.requires_grad:
                continue
            if name not in maps or hidden.setdefault(param, maps[name]) != maps[name]:
                rest[param] = None
    groups: list[dict[str, Any]] = []
    for member_dims, blocks in sorted(set(hidden.values())):
        kind = (member_dims, blocks)
        params = [p for p, maps in hidden.items() if maps == kind and p not in rest]
        if params:
            several = {"blocks": blocks} if blocks > 1 else {}
            groups.append({"params": params, "member_dims": member_dims, **several})
    if rest:
        groups.append({"params": list(rest), "isometry": 0.0})
    return groups


def _hidden_maps(layer: nn.Module) -> dict[str, tuple[int, int]]:
    """Member axes and number of maps of each weight that a hidden layer holds."""
    if isinstance(layer, IsoLinear | IsoConv2d):
        members = 0 if layer.members is None else 1
        return {"weight": (members, 1)} if layer.role == "hidden" else {}
    if isinstance(layer, nn.Linear):
        return {"weight": (0, 1)}
    if isinstance(layer, CONVOLUTIONS):
        return {"weight": (0, layer.groups)}
    if isinstance(layer, nn.MultiheadAttention):
        alone = {f"{name}_proj_weight": (0, 1) for name in "qkv"}
        return {"in_proj_weight": (0, 3), **alone}
    return {}


def _excluded(module: nn.Module, exclude: Iterable[nn.Module | str]) -> set[nn.Module]:
    """The modules to leave out, with their descendants."""
    names = dict(module.named_modules())
    excluded: set[nn.Module] = set()
    for item in [exclude] if isinstance(exclude, nn.Module | str) else exclude:
        root = names.get(item) if isinstance(item, str) else item
        if root is None or root not in names.values():
            known = ", ".join(name for name in names if name)
            raise InputError(f"exclude names {item!r}, which is not in the module; it has {known}")
        excluded.update(root.modules())
    return excluded
