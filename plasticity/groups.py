"""Parameters split by the role of their layer, for optimisers that keep hidden layers isometric."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from neoteny.core.errors import InputError
from neoteny.plasticity.layers import IsoConv2d, IsoLinear

logger = logging.getLogger(__name__)

HEADS = ("action_net", "value_net")
"""Names of the output layers of Stable-Baselines3's actors and critics."""

Q_NETWORKS = ("q_net", "q_net_target")
"""Names of its chains of layers from features to values of actions, whose last one is a head."""

CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


def isometry_groups(
    module: nn.Module, exclude: Iterable[nn.Module | str] | None = None
) -> list[dict[str, Any]]:
    """Split a module's trainable parameters into groups for `AdamO` by the role of their layer.

    Hidden weights are those of `IsoLinear` and `IsoConv2d` with role "hidden", and those of plain
    `nn.Linear`, `nn.Conv*d`, `nn.ConvTranspose*d` and `nn.MultiheadAttention`, which declare no
    role. Each group of a convolution is a map of its own, as are
    the projections of queries, keys and values. Everything else (biases, norms, embeddings,
    recurrent layers, weights behind a parametrisation such as `weight_norm`, heads, excluded
    modules) goes into one group with isometry 0. A weight shared between a hidden layer and
    anything else counts as excluded.

    Args:
        module: the network.
        exclude: modules, or their names in `module.named_modules()`; what they hold is left out.
            Unset, the output heads are: those that layers declare, else the layers named
            `action_net` and `value_net` or that end a `q_net`, as in Stable-Baselines3, else the
            last `nn.Linear`, unless it is the only layer. A warning is logged with what was taken
            for a head; `exclude=()` leaves nothing out.

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


def _heads(module: nn.Module) -> list[str]:
    """Names of the output heads of a module, as far as they can be told."""
    layers = dict(module.named_modules())
    if any(isinstance(layer, IsoLinear | IsoConv2d) for layer in layers.values()):
        return []  # each declares its role
    inside = {id(own) for layer in layers.values() if _attends(layer) for own in layer.modules()}
    linear = [
        name
        for name, layer in layers.items()
        if isinstance(layer, nn.Linear) and id(layer) not in inside
    ]
    heads = _known_heads(linear) or linear[-1:]
    others = (layer for name, layer in layers.items() if name not in heads)
    if heads and any(param.dim() > 1 for o in others for param in o.parameters(recurse=False)):
        shown = ", ".join(
            f"{name} ({layers[name].in_features} to {layers[name].out_features})" for name in heads
        )
        logger.warning(
            "isometry: taken for output heads and left out: %s; name them with exclude=[...], or "
            "leave nothing out with exclude=()",
            shown,
        )
        return heads
    return []


def _known_heads(layers: Iterable[str]) -> list[str]:
    """The output heads among the layers with weights of a policy of Stable-Baselines3, by name."""
    heads: dict[str, str] = {}
    for name in layers:
        parent, _, own = name.rpartition(".")
        if own in HEADS:
            heads[name] = name
        elif parent.rpartition(".")[2] in Q_NETWORKS:
            heads[parent] = name  # the last one of its chain stays
    return list(heads.values())


def _attends(layer: nn.Module) -> bool:
    return isinstance(layer, nn.MultiheadAttention)


def named_groups(named: Sequence[tuple[str, Tensor]], member_dims: int = 0) -> list[dict[str, Any]]:
    """Split named parameters into groups for `AdamO` by what their names and shapes say.

    Names say less than modules do (see `isometry_groups`): output heads are the layers named
    `action_net` and `value_net` and the last one of a `q_net`, else the last one with a matrix;
    embeddings are the parameters whose name has `embed` in it; `in_proj_weight` holds the
    projections of queries, keys and values. A warning is logged with what was taken for a head.

    Args:
        named: names and parameters, as `module.named_parameters()` gives them.
        member_dims: number of leading member axes of every parameter.

    Returns:
        Parameter groups of (name, parameter): hidden weights without an `isometry` key, one group
        per number of `blocks`; then the rest, if any, with isometry 0.
    """
    maps = [
        name
        for name, parameter in named
        if parameter.dim() >= member_dims + 2 and "embed" not in name.lower()
    ]
    layers = [name.rpartition(".")[0] for name in maps]
    heads = set(_known_heads(layers)) or (set(layers[-1:]) if len(set(layers)) > 1 else set())
    blocks = {
        name: 3 if name.endswith("in_proj_weight") else 1
        for name, layer in zip(maps, layers, strict=True)
        if layer not in heads
    }
    groups: list[dict[str, Any]] = [
        {"params": [pair for pair in named if blocks.get(pair[0]) == count], "blocks": count}
        for count in sorted(set(blocks.values()))
    ]
    rest = [pair for pair in named if pair[0] not in blocks]
    if heads:
        logger.warning(
            "isometry: taken for output heads by their names and left out: %s; give the groups of "
            "isometry_groups(module, exclude=[...]) to say otherwise",
            ", ".join(sorted(heads)),
        )
    return [*groups, *([{"params": rest, "isometry": 0.0}] if rest else [])]


def _excluded(module: nn.Module, exclude: Iterable[nn.Module | str] | None) -> set[nn.Module]:
    """The modules to leave out, output heads if none are named, with their descendants."""
    if not isinstance(module, nn.Module):
        raise InputError(f"module is a {type(module).__name__}: give the network, a torch module")
    exclude = _heads(module) if exclude is None else exclude
    names = dict(module.named_modules())
    excluded: set[nn.Module] = set()
    for item in [exclude] if isinstance(exclude, nn.Module | str) else exclude:
        root = names.get(item) if isinstance(item, str) else item
        if root is None or root not in names.values():
            known = ", ".join(name for name in names if name)
            raise InputError(f"exclude names {item!r}, which is not in the module; it has {known}")
        excluded.update(root.modules())
    return excluded
