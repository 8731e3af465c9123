"""Layers of a model with what one forward pass did in them, in one graph of autograd.

The project's networks show their layers. In any other module layers are found by type, and what
passes through them is caught by hooks that last for the call. Activations are caught where they are
called, as modules or as functions, and belong to the layers that they were computed from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from neoteny.plasticity.activations import ACTIVATIONS, Activation, CReLU, GroupSort
from neoteny.plasticity.bodies import MemberLayerNorm
from neoteny.plasticity.diagnostics.functional import ModelFunction
from neoteny.plasticity.gram import as_maps
from neoteny.plasticity.groups import CONVOLUTIONS
from neoteny.plasticity.layers import IsoConv2d, IsoLinear
from neoteny.plasticity.networks import Network


def _functions(names: str) -> set[Any]:
    """Functions and methods of torch by name."""
    places = (F, torch, Tensor)
    return {getattr(p, name) for name in names.split() for p in places if hasattr(p, name)}


FUNCTIONS = _functions(
    "relu relu_ tanh tanh_ sigmoid sigmoid_ gelu silu elu elu_ selu selu_ celu leaky_relu "
    "leaky_relu_ mish softplus softsign relu6 hardtanh hardswish hardsigmoid rrelu sin cos"
)
"""Functions of torch that are activations."""

SQUASHING = _functions("tanh tanh_")
"""Activations with values between -1 and 1."""


@dataclass
class LayerTrace:
    """A layer with weights, and the tensors (M, B, ...) of one pass; (B, ...) without members."""

    weight: Tensor
    """(M, out, in); kernels of convolutions are (out, in * kh * kw)."""
    bias: bool = False
    members: bool = True
    axis: int = -1
    """Axis of the units in `sums`, `preactivations`, `units` and `outputs` (M, B, ...)."""
    calls: int = 0
    inputs: Tensor | None = None
    """Input of the layer."""
    sums: Tensor | None = None
    """Output of the layer, before norm and activation."""
    preactivations: Tensor | None = None
    """Input of its activation."""
    units: Tensor | None = None
    """Output of its activation."""
    outputs: Tensor | None = None
    """Input of the next layer: `units`, plus the layer's input in a residual network."""
    activation: Activation = ACTIVATIONS["relu"]
    squashing: bool = False
    module: Any = None
    own: bool = False
    """True of the layers of a `Network`, whose activation is the one that it names."""
    norm: MemberLayerNorm | None = None
    share: float | None = None
    """Share of `units` in the output of a residual layer."""

    @torch.no_grad()
    def before_norm(self) -> Tensor:
        """Output of the layer (M, B, out, ...) before its norm; of a `Network`."""
        assert self.inputs is not None
        flat = isinstance(self.module, IsoLinear)
        found: Tensor = self.module(self.inputs.flatten(2) if flat else self.inputs)
        return found

    def samples(self, values: Tensor) -> Tensor:
        """Values of units as (M, samples, units); positions count as samples."""
        last = (values if self.members else values.unsqueeze(0)).movedim(self.axis, -1)
        return last.reshape(len(last), -1, last.shape[-1])


@dataclass
class Trace:
    """Layers by "<branch>/<layer>", inputs and outputs of a model."""

    inputs: Tensor
    """(M, B, ...), or (B, ...) without members; in the graph if they are floats."""
    layers: dict[str, LayerTrace] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    """(M, B, ...) of each branch, or (B, ...) without members."""
    members: bool = True


def trace(function: ModelFunction, batch: Tensor) -> Trace:
    """Apply a model once and keep the inputs and outputs of its layers.

    Nothing remains attached to the model, also where applying it raises.

    Cost: one forward pass, whose activations are all kept.

    Args:
        function: the model with the way it is applied.
        batch: (B, ...), or (M, B, ...) for a model with members.
    """
    model = function.module.model
    with torch.enable_grad():
        if isinstance(model, Network):
            return _trace_network(model, batch)
        return _trace_module(function, model, batch)


def _trace_network(network: Network, batch: Tensor) -> Trace:
    """Layers of the project's own network, in its order, without hooks."""
    kind = next(network.parameters()).dtype
    found = Trace(network.spec.arrange(batch).detach().to(kind).requires_grad_())
    activation = ACTIVATIONS[network.spec.activation]
    last: dict[Any, Tensor] = {}
    for body in network.bodies:
        names = [name for name, branch in network.branches.items() if branch.body is body]
        owner = names[0] if len(names) == 1 else "shared"
        x = found.inputs
        parts = zip(body.hidden, body.norms, body.shares, body.steps(found.inputs), strict=True)
        for index, (layer, norm, share, (z, h, out)) in enumerate(parts):
            known = LayerTrace(
                layer.weight.detach().flatten(2),
                layer.bias is not None,
                axis=2,
                calls=1,
                inputs=x,
                sums=None if isinstance(norm, MemberLayerNorm) else z,
                outputs=out,
                module=layer,
            )
            if body.activates[index]:
                known.preactivations, known.units = z, h
                known.activation = activation
                known.squashing = network.spec.activation == "tanh"
            if network.spec.trunk == "plain":  # others' layers are not of one known form
                known.own, known.share = True, share
                known.norm = norm if isinstance(norm, MemberLayerNorm) else None
            found.layers[f"{owner}/layer{index}"] = known
            x = out
        last[body] = x
    for name, branch in network.branches.items():
        head, x = branch.head, last[branch.body]
        sums = head(x)
        found.outputs[name] = branch.read(sums)
        found.layers[f"{name}/head"] = LayerTrace(
            head.weight.detach(),
            head.bias is not None,
            axis=2,
            calls=1,
            inputs=x,
            sums=sums,
            module=head,
            own=True,
        )
    return found


def layer_weights(module: nn.Module) -> dict[str, Tensor]:
    """Weights of a layer as matrices (M, out, in) by name, empty for other modules.

    Linear layers and convolutions have one without a name; attention has four. Groups of a
    convolution are the blocks of one matrix.
    """
    if isinstance(module, IsoLinear | IsoConv2d):
        weight = module.weight if module.members is not None else module.weight.unsqueeze(0)
        return {"": weight.flatten(2)}
    if isinstance(module, nn.MultiheadAttention):
        if module.in_proj_weight is not None:
            parts = module.in_proj_weight.chunk(3)
        else:
            parts = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        named = dict(zip("qkv", parts, strict=True)) | {"out_proj": module.out_proj.weight}
        return {f".{name}": weight.unsqueeze(0) for name, weight in named.items()}
    if isinstance(module, nn.Linear):
        return {"": module.weight.unsqueeze(0)}
    if isinstance(module, CONVOLUTIONS):
        weight = module.weight
        if module.groups > 1:
            whole: Tensor = torch.block_diag(*as_maps(weight, 0, module.groups))  # type: ignore[no-untyped-call]
            return {"": whole.unsqueeze(0)}
        transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
        return {"": (weight.transpose(0, 1) if transposed else weight).flatten(1).unsqueeze(0)}
    return {}


def _trace_module(function: ModelFunction, model: nn.Module, batch: Tensor) -> Trace:
    x = batch.detach()
    x = x.clone().requires_grad_() if x.is_floating_point() else x
    caught = _Caught(function.members)
    with caught.watching(model):
        outputs = function.module(x)
    found = Trace(x, outputs=outputs, members=function.members)
    for name, result in caught.results.items():
        found.layers[f"{_owner(outputs, result)}/{name}"] = caught.layers[name]
    return found


def _owner(outputs: dict[str, Tensor], result: Tensor) -> str:
    """The one branch whose outputs depend on a layer, or `shared`."""
    if len(outputs) == 1:
        return next(iter(outputs))
    if not result.requires_grad:
        return "shared"
    reached = [
        name
        for name, value in outputs.items()
        if value.requires_grad
        and torch.autograd.grad(value.sum(), result, retain_graph=True, allow_unused=True)[0]
        is not None
    ]
    return reached[0] if len(reached) == 1 else "shared"


class _Caught(TorchFunctionMode):
    """Record of the tensors in layers and activations while a module is watched.

    An activation belongs to the layers in the graph between its input and earlier activations.
    """

    def __init__(self, members: bool) -> None:
        super().__init__()
        self.members = members
        self.layers: dict[str, LayerTrace] = {}
        self.results: dict[str, Tensor] = {}
        self._made: dict[Any, LayerTrace] = {}
        self._ends: set[Any] = set()

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Record the tensors of a forward pass; the model is restored, also after an error."""
        with ExitStack() as stack:
            for path, module in model.named_modules():
                for suffix, weight in layer_weights(module).items():
                    name = f"{path}{suffix}".lstrip(".") or "layer"
                    bias = getattr(module, "bias", None) is not None
                    layer = LayerTrace(weight.detach(), bias, self.members, module=module)
                    layer.axis = 2 if isinstance(module, (IsoConv2d, *CONVOLUTIONS)) else -1
                    self.layers[name] = layer
                    handle = module.register_forward_hook(self._layer_hook(name, layer))
                    stack.callback(handle.remove)
                if isinstance(module, GroupSort | CReLU):
                    stack.callback(module.register_forward_hook(self._activation_hook).remove)
            stack.enter_context(self)
            yield

    def _layer_hook(self, name: str, layer: LayerTrace) -> Any:
        attention = isinstance(layer.module, nn.MultiheadAttention)

        def hook(module: nn.Module, args: Any, result: Any) -> Any:
            value = result[0] if attention else result
            self.results[name] = value
            if attention:
                return None
            layer.calls += 1
            layer.inputs, layer.sums = args[0], value
            if value.grad_fn is not None:
                self._made[value.grad_fn] = layer
            return value.clone()  # which an activation may overwrite

        return hook

    def _activation_hook(self, module: Any, args: Any, result: Tensor) -> None:
        sort = isinstance(module, GroupSort)
        name = ("groupsort" if module.size == 2 else f"groupsort{module.size}") if sort else "crelu"
        self._attribute(args[0].grad_fn, args[0], result, ACTIVATIONS[name], False)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch; of activations keep input and result."""
        if func not in FUNCTIONS:
            return func(*args, **(kwargs or {}))
        given = args[0] if args else (kwargs or {})["input"]
        node = given.grad_fn
        in_place = func.__name__.endswith("_") or (kwargs or {}).get("inplace", False)
        given = given.detach().clone() if in_place else given
        result = func(*args, **(kwargs or {}))
        self._attribute(node, given, result, ACTIVATIONS["relu"], func in SQUASHING)
        return result

    def _attribute(
        self, node: Any, given: Tensor, result: Tensor, activation: Activation, squashing: bool
    ) -> None:
        """Give an activation to the layers that its input was computed from."""
        for layer in self._sources(node):
            if layer.sums is None or given.dim() != layer.sums.dim():
                continue
            layer.preactivations, layer.units, layer.outputs = given, result, result
            layer.activation, layer.squashing = activation, squashing
        if result.grad_fn is not None:
            self._ends.add(result.grad_fn)

    def _sources(self, node: Any) -> list[LayerTrace]:
        """Layers that a node of the graph follows from without another activation between."""
        found, seen, open_ = [], set(), [node]
        while open_:
            node = open_.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if node in self._made:
                found.append(self._made[node])
            elif node not in self._ends:
                open_ += [parent for parent, _ in node.next_functions]
        return found
