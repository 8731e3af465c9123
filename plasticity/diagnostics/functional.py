"""Any model as a pure function of its parameters, for torch.func."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase

from neoteny.core.errors import InputError
from neoteny.plasticity.networks import Network

Forward = Callable[[Any, Tensor], Any]
"""Applies a model to a batch: a tensor, several, or a dictionary of tensors by branch."""


def named_outputs(found: Any) -> dict[str, Tensor]:
    """Outputs by branch: one tensor is `model`, several are `output0`, `output1`, ...

    Raises:
        ValueError: if there is no tensor of floats among them.
    """
    if isinstance(found, Tensor):
        found = {"model": found}
    elif isinstance(found, tuple | list):
        found = {f"output{index}": value for index, value in enumerate(found)}
    known = dict(found) if isinstance(found, Mapping) else {}
    kept = {
        name: value
        for name, value in known.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    if not kept:
        raise InputError(
            f"the model gives {type(found).__name__} without tensors of floats: give "
            "forward=lambda model, batch: {'policy': ..., 'value': ...}"
        )
    return kept


def _call(model: Any, batch: Tensor) -> Any:
    return model(batch)


def _network_outputs(network: Network, batch: Tensor) -> dict[str, Tensor]:
    """Every branch's head on (M, B, *obs), without the fused kernels."""
    x = network.spec.arrange(batch).to(next(network.parameters()).dtype)
    features = {body: body(x) for body in network.bodies}
    return {
        name: branch.read(branch.head(features[branch.body]))
        for name, branch in network.branches.items()
    }


class _Called(nn.Module):
    """A model with the way it is applied."""

    def __init__(self, model: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.model = model
        self.apply_model = forward

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return named_outputs(self.apply_model(self.model, batch))


class ModelFunction:
    """A model as a function of one member's parameters and a batch.

    Args:
        model: any module; it is not changed.
        forward: applies it, `model(batch)` by default. `Network` has its own.
        members: True if batches, parameters and outputs have a leading axis of members.
    """

    def __init__(
        self, model: nn.Module, forward: Forward | None = None, members: bool = False
    ) -> None:
        network = isinstance(model, Network)
        self.members = members or network
        self.own = network and forward is None
        self.forward: Forward = forward or (_network_outputs if network else _call)
        self.module = _Called(model, self.forward)
        self.aliases = _aliases(self.module)

    def parameters(self, model: nn.Module | None = None) -> dict[str, Tensor]:
        """Trained parameters, each (M, ...), of this model or another one of its architecture."""
        source = self.module if model is None else _Called(model, self.forward)
        found = {n: p.detach() for n, p in source.named_parameters() if p.requires_grad}
        return found if self.members else {n: p.unsqueeze(0) for n, p in found.items()}

    def trained(self, what: str) -> dict[str, Tensor]:
        """Parameters as `parameters` gives them, refused where there are none.

        Args:
            what: What needs them.
        """
        found = self.parameters()
        if not found:
            raise InputError(f"no parameter of the model requires gradients, which {what} needs")
        return found

    def constants(self, model: nn.Module | None = None) -> dict[str, Tensor]:
        """Buffers and parameters that are not trained."""
        source = self.module if model is None else _Called(model, self.forward)
        frozen = {n: p.detach() for n, p in source.named_parameters() if not p.requires_grad}
        return frozen | dict(source.named_buffers())

    def __call__(self, state: Mapping[str, Tensor], batch: Tensor) -> dict[str, Tensor]:
        """Outputs (B, k) of each branch for (B, *in) and one member's parameters, without an axis.

        Constants of the state stand for those of the model.
        """
        found: dict[str, Tensor]
        if self.members:
            lifted = {name: value.unsqueeze(0) for name, value in state.items()}
            found = self._outputs(lifted, batch.unsqueeze(0))
            found = {name: value.squeeze(0) for name, value in found.items()}
        else:
            found = self._outputs(state, batch)
        return {name: value.reshape(len(batch), -1) for name, value in found.items()}

    def clones(self, state: Mapping[str, Tensor], batch: Tensor) -> dict[str, Tensor]:
        """Outputs (C, B, k) of each branch for clones' states and batches, with an axis C each.

        The axis of a `Network`'s members serves for its clones; any other module is vectorised.
        """
        if not self.own:
            found: dict[str, Tensor] = vmap(self)(dict(state), batch)
            return found
        found = self._outputs(state, batch)
        return {name: value.flatten(2) for name, value in found.items()}

    def _outputs(self, state: Mapping[str, Tensor], batch: Tensor) -> dict[str, Tensor]:
        """The module's outputs with the tensors of a state, which stand for all they are tied to.

        torch ties them by itself, but leaves the state in a module that is reached by two names.
        """
        tied = {
            alias: value for name, value in state.items() for alias in self.aliases.get(name, ())
        }
        found: dict[str, Tensor] = functional_call(
            self.module, {**state, **tied}, (batch,), tie_weights=False
        )
        return found


def _aliases(module: nn.Module) -> dict[str, list[str]]:
    """Further names, each at a module of its own, of parameters and buffers that modules share."""
    names: dict[Tensor, list[str]] = {}
    for path, owner in module.named_modules():
        for tensors in (owner._parameters, owner._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    names.setdefault(tensor, []).append(f"{path}.{name}")
    return {first: others for first, *others in names.values() if others}


def check_batch(batch: object) -> None:
    """Refuse a batch that is no tensor."""
    if not isinstance(batch, Tensor):
        raise InputError(f"batch is a {type(batch).__name__}: give torch.as_tensor(batch)")


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Make all modules pure functions for a while, in evaluation mode but for batch norms.

    In training mode batch norms use the statistics of the batch and leave their running ones as
    they are. Attention takes the plain path, which every transform knows. Gradients are on, in a
    caller's `torch.no_grad()` or `torch.inference_mode()` as well.
    """
    modules = list(model.modules())
    modes = [module.training for module in modules]
    norms = [module for module in modules if isinstance(module, _NormBase)]
    tracks = [norm.track_running_stats for norm in norms]
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        stack.callback(_set, norms, "track_running_stats", tracks)
        stack.callback(_set, modules, "training", modes)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        torch.backends.mha.set_fastpath_enabled(False)
        _set(modules, "training", [False] * len(modules))
        if training:
            _set(norms, "training", [True] * len(norms))
            _set(norms, "track_running_stats", [False] * len(norms))
        yield


def _set(modules: list[Any], name: str, values: list[bool]) -> None:
    for module, value in zip(modules, values, strict=True):
        setattr(module, name, value)
