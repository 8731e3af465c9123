"""Edits of a network's weights, with the optimiser, targets and counters that must follow.

What must follow is the optimiser's state, the same entries of target networks, and the norms of
the units. Every edit is in place, so a step that was captured or compiled keeps reading the same
tensors, and masked, so no edit asks the host which units it concerns. The step counts of Adam
belong to whole tensors: they are zeroed with a whole parameter and kept when units are reset, so
that the first step of a reset entry is up to (1 - beta1) / sqrt(1 - beta2), usually 3.2, learning
rates long.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from neoteny.core.errors import InputError
from neoteny.plasticity.activations import ACTIVATIONS, Activation
from neoteny.plasticity.initial import draw_bias, draw_weight

if TYPE_CHECKING:
    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.networks import Network


@torch.no_grad()
def with_targets(learner: Learner, parameter: Tensor) -> list[Tensor]:
    """A parameter and its counterparts in the target networks that the learner lists, if any."""
    found = [parameter]
    for target in learner.targets:
        pairs = zip(learner.network.parameters(), target.parameters(), strict=True)
        found += [copy for own, copy in pairs if own is parameter]
    return found


@torch.no_grad()
def assign(
    learner: Learner,
    parameter: Tensor,
    value: Tensor | float,
    mask: Tensor | None = None,
    moments: bool = True,
) -> None:
    """Write values into a parameter and its target copies, and forget the moments written over.

    Args:
        learner: owner of the network, the targets and the optimiser.
        parameter: (M, ...) a parameter of `learner.network`.
        value: number or tensor, broadcasting to the parameter.
        mask: bool, broadcasting to the parameter; None writes all entries.
        moments: zero the optimiser's state of these entries: every tensor of the
            parameter's shape and, without a mask, also the step count.
    """
    for copy in with_targets(learner, parameter):
        if mask is not None:
            copy.copy_(torch.where(mask, value, copy))
        elif isinstance(value, Tensor):
            copy.copy_(value)
        else:
            copy.fill_(value)
    if moments:
        _forget(learner.optimizer, parameter, mask)


def _forget(optimizer: Optimizer, parameter: Tensor, mask: Tensor | None) -> None:
    """Zero the optimiser's state of a parameter's entries, or all of it."""
    for state in optimizer.state.get(parameter, {}).values():
        if isinstance(state, Tensor):
            if mask is None:
                state.zero_()
            elif state.shape == parameter.shape:
                state.masked_fill_(mask, 0.0)


def fresh_weight(
    layer: Any, generators: Sequence[torch.Generator], shape: Sequence[int] | None = None
) -> Tensor:
    """Draw a new initial weight for a layer, which stays unchanged.

    Args:
        layer: IsoLinear or IsoConv2d of M members.
        generators: one per member, so that a draw does not depend on M.
        shape: (out, in, ...) of a part of the layer.

    Returns:
        (M, out, in, ...) on the layer's device, as `layer.init` and `layer.gain` say.
    """
    weight = layer.weight
    size = weight.shape[1:] if shape is None else shape
    draws = [torch.empty(*size, dtype=weight.dtype) for _ in generators]
    for draw, generator in zip(draws, generators, strict=True):
        draw_weight(draw, layer.init, layer.gain, generator)
    return torch.stack(draws).to(weight.device)


def fresh_bias(layer: Any, generators: Sequence[torch.Generator], weight: Tensor) -> Tensor:
    """Draw a new initial bias (M, out) to go with a drawn weight (M, out, in, ...) of a layer."""
    draws = [torch.empty(weight.shape[1], dtype=weight.dtype) for _ in generators]
    for draw, generator in zip(draws, generators, strict=True):
        draw_bias(draw, layer.init, weight[0], generator)
    return torch.stack(draws).to(weight.device)


def fresh_parameters(
    layer: Any, generators: Sequence[torch.Generator], norm: Any = None
) -> Iterator[tuple[Tensor, Tensor | float]]:
    """Draw new initial values of a layer's parameters, which stay unchanged.

    Args:
        layer: a hidden layer or head.
        generators: one per member.
        norm: the norm that follows the layer, if any.

    Yields:
        Weight, bias and the norm's parameters, each with a value that broadcasts to it.
    """
    weight = fresh_weight(layer, generators)
    yield layer.weight, weight
    if layer.bias is not None:
        yield layer.bias, fresh_bias(layer, generators, weight)
    for name, parameter in () if norm is None else norm.named_parameters():
        yield parameter, float(name == "weight")


def hidden_layers(network: Network) -> Iterator[tuple[str, int, Any]]:
    """Branch, index and layer of every hidden layer; one that branches share comes once."""
    seen: set[int] = set()
    for name, branch in network.branches.items():
        for index, layer in enumerate(branch.hidden):
            if id(layer) not in seen:
                seen.add(id(layer))
                yield name, index, layer


def require_own_outputs(network: Network, name: str) -> None:
    """Check that every unit's outgoing weights are its own, so that it can be taken out.

    Args:
        network: any network.
        name: name of the intervention, for the message.

    Raises:
        ValueError: for a residual network.
    """
    if network.spec.adds_units:
        raise InputError(
            f"{name} takes single units out, but a residual network adds units up before it reads "
            f"them, so that none has outgoing weights of its own: leave residual or {name} out"
        )


def outgoing(network: Network, layer: nn.Module) -> list[Any]:
    """The layers that read a hidden layer: several if branches share it.

    Raises:
        ValueError: for a residual network.
    """
    require_own_outputs(network, "unit resets")
    readers: dict[int, Any] = {}
    for branch in network.branches.values():
        chain = [*branch.hidden, branch.head]
        for here, reader in itertools.pairwise(chain):
            if here is layer:
                readers[id(reader)] = reader
    return list(readers.values())


@torch.no_grad()
def outgoing_magnitude(network: Network, layer: Any) -> Tensor:
    """Mean absolute outgoing weight of each feature of a hidden layer.

    Returns:
        (M, features); the sum over readers where branches share the layer.
    """
    features = layer.weight.shape[1] * ACTIVATIONS[network.spec.activation].fan
    means = [
        reader.weight.abs().mean(1).reshape(len(reader.weight), features, -1).mean(2)
        for reader in outgoing(network, layer)
    ]
    return torch.stack(means).sum(0)


def expand_to_group(mask: Tensor, activation: Activation) -> Tensor:
    """Extend a mask of units (M, units) to all units that the activation sorts together."""
    if activation.group == 1:
        return mask
    groups = mask.reshape(len(mask), activation.group, -1).any(1)
    return groups.repeat(1, activation.group)


def as_samples(features: Tensor) -> Tensor:
    """Features (M, B, n), or (M, B, channels, H, W) with every position as a sample."""
    return features if features.dim() == 3 else features.movedim(2, -1).flatten(1, -2)


def unit_activity(features: Tensor, activation: Activation) -> Tensor:
    """Absolute activation of each unit on each sample.

    A unit with several features (CReLU) has their mean, and tied units (GroupSort) the mean of
    their group; positions of an image count as samples.

    Args:
        features: (M, B, features) or (M, B, channels, H, W) activations.
        activation: the layer's activation.

    Returns:
        (M, B, units) or (M, B * H * W, units), never negative.
    """
    activity = as_samples(features.abs())
    if activation.fan > 1:
        activity = activity.reshape(*activity.shape[:2], activation.fan, -1).mean(2)
    if activation.group > 1:
        activity = activity.reshape(*activity.shape[:2], activation.group, -1).mean(2)
        activity = activity.repeat(1, 1, activation.group)
    return activity


@torch.no_grad()
def reset_units(
    learner: Learner,
    branch: str,
    layer: int,
    mask: Tensor,
    fresh: Tensor,
    *,
    mean: Tensor | None = None,
    moments: bool = True,
) -> Tensor:
    """Replace hidden units by new ones that do not yet act.

    Incoming weights come from `fresh`, the bias becomes 0, the norm's affine map the identity, and
    the outgoing weights become 0 in every layer that reads the unit. Units that the activation
    sorts together are reset together, and both features of a CReLU unit. The function changes by
    exactly what the units contributed; with `mean` their mean contribution stays, as a bias, which
    at the borders of a padded convolution also stands for the taps that saw only zeros. A layer's
    norm sees the new units, too.

    Args:
        learner: owner of the network, its targets and its optimiser.
        branch: name of the branch.
        layer: index into the branch's hidden layers.
        mask: (M, units) bool, the units to reset.
        fresh: (M, units, in, ...) a new draw of the layer's weight; see `fresh_weight`.
        mean: (M, features) mean activations, whose contribution moves into the readers' biases;
            readers without a bias lose it.
        moments: zero the optimiser's state of all these entries.

    Raises:
        ValueError: for a residual network.

    Returns:
        (M, units) the units that were reset: `mask`, extended to tied units.

    Source: Sokar et al., arXiv:2302.12902, §4; folding of the mean as in Dohare et al., Nature 632
    (2024), algorithm 1.
    """
    network = learner.network
    activation = ACTIVATIONS[network.spec.activation]
    mask = expand_to_group(mask, activation)
    body = network.branches[branch].body
    source: Any = network.branches[branch].hidden[layer]
    for reader in outgoing(network, source):
        features = mask.repeat(1, activation.fan)
        if mean is not None and reader.bias is not None:
            _fold(learner, reader, torch.where(features, mean, 0.0))
        columns = _columns(features, reader.weight)
        assign(learner, reader.weight, 0.0, columns, moments)
    assign(learner, source.weight, fresh, _trailing(mask, source.weight), moments)
    if source.bias is not None:
        assign(learner, source.bias, 0.0, mask, moments)
    for name, parameter in body.norms[layer].named_parameters():
        assign(learner, parameter, float(name == "weight"), mask, moments)
    learner.edited(source, mask)
    return mask


@torch.no_grad()
def redraw(
    learner: Learner, layer: Any, generators: Sequence[torch.Generator], norm: Any = None
) -> None:
    """Draw a whole layer anew: weight, bias, norm, and the optimiser's state of all three.

    Args:
        learner: owner of the network, its targets and its optimiser.
        layer: a hidden layer or head.
        generators: one per member.
        norm: the norm that follows the layer, if any.
    """
    for parameter, value in fresh_parameters(layer, generators, norm):
        assign(learner, parameter, value)
    learner.edited(layer)


def _columns(features: Tensor, weight: Tensor) -> Tensor:
    """Spread values of features (M, features) over the inputs of a weight (M, out, in, ...).

    A linear layer that reads a flattened image has one input for each position of a channel.
    """
    spread = weight.shape[2] // features.shape[1]
    inputs = features.repeat_interleave(spread, 1) if spread > 1 else features
    return _trailing(inputs.unsqueeze(1), weight)


def _trailing(values: Tensor, like: Tensor) -> Tensor:
    """Append axes of size 1 until `values` broadcasts against `like` from the left."""
    return values.view(*values.shape, *[1] * (like.dim() - values.dim()))


def _fold(learner: Learner, reader: Any, mean: Tensor) -> None:
    """Add the mean contribution (M, out) of features (M, features) to a reader's bias."""
    for weight, bias in zip(
        with_targets(learner, reader.weight), with_targets(learner, reader.bias), strict=True
    ):
        bias += (weight * _columns(mean, weight)).flatten(2).sum(2)
