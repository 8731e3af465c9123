"""Body of residual blocks with pre-normalisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from neoteny.plasticity.bodies import Body, MemberLayerNorm, Observations
from neoteny.plasticity.network_spec import NetworkSpec
from neoteny.plasticity.sparse import SparseBatch, sparse_linear


class SimBaBody(Body):
    """A linear layer, blocks x + V act(W norm(x)), and a norm of the last sum.

    The linear layers of the spec are taken as the embedding and then W and V of each block, in
    turns; convolutions come before them as in any body. The norm that goes with W is that of its
    input, and the one that goes with the last V that of the sum.

    Source: Lee et al., "SimBa: Simplicity Bias for Scaling Up Parameters in Deep Reinforcement
        Learning", arXiv:2410.09754.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        observation_shape: Sequence[int],
        members: int,
        generators: Sequence[torch.Generator],
    ) -> None:
        super().__init__(spec, observation_shape, members, generators)
        self.first = len(spec.convolutions)
        """Index of the embedding."""
        self.activates = [
            index < self.first or (index - self.first) % 2 == 1 for index in range(len(self.hidden))
        ]
        normed = [*range(self.first + 1, len(self.hidden), 2), len(self.hidden) - 1]
        for index in normed:
            self.norms[index] = MemberLayerNorm(members, spec.hidden[0])

    def steps(self, x: Observations) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Pre-activation, activation and output of every layer; the next one reads the last."""
        trunk: Tensor | None = None
        for index, (layer, norm) in enumerate(zip(self.hidden, self.norms, strict=True)):
            last = index == len(self.hidden) - 1
            if isinstance(x, SparseBatch):
                z = sparse_linear(x, layer.weight, layer.bias)
            elif trunk is not None and self.activates[index]:
                z = layer(norm(x))
            else:
                z = layer(x.flatten(2) if self.flattens[index] else x)
            h = self.activation(z, 2) if self.activates[index] else z
            x = h if self.activates[index] or trunk is None else trunk + z
            if not self.activates[index]:
                trunk = x
                x = norm(x) if last else x
            yield z, h, x
