"""Networks of named branches, each a body of hidden layers and a head, with a leading member axis.

PPO has the branches `policy` and `value`, DQN has `q`, the classifier has `logits`. Hidden layers
and heads are told apart by construction: interventions and diagnostics read `branch.body.layers`
and `branch.head`, never names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from neoteny.plasticity.batched import KERNELS, batched_forward, unaltered
from neoteny.plasticity.bodies import Body, Branch, MemberLayerNorm, Observations
from neoteny.plasticity.network_spec import HeadSpec, NetworkSpec
from neoteny.plasticity.simba import SimBaBody
from neoteny.plasticity.sparse import SparseBatch, encode

__all__ = [
    "Body",
    "Branch",
    "HeadSpec",
    "MemberLayerNorm",
    "Network",
    "NetworkSpec",
    "Observations",
]


class Network(nn.Module):
    """Named branches over one observation, for M members at once.

    Args:
        spec: Shape of the branches' bodies; `shared` if they are one.
        observation_shape: Shape of one observation, which an MLP flattens.
        heads: Name and shape of each branch.
        generators: One generator per member; their number is M.
        fast: Compute all branches as one batched network where their kind allows it, and binary
            observations by their ones; else run the modules one after the other, the reference
            that the fast path equals up to round-off.
        precision: Type of the products' factors, float32 or bfloat16; weights stay float32.

    Raises:
        ValueError: If the observations do not suit the torso.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        observation_shape: Sequence[int],
        heads: Mapping[str, HeadSpec],
        generators: Sequence[torch.Generator],
        fast: bool = True,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.fast = fast
        self.batchable = spec.plain and spec.activation in KERNELS
        self.precision = precision
        self.spec = spec
        self.members = len(generators)
        self.branches: dict[str, Branch] = {}
        body: Body | None = None
        for name, head in heads.items():
            if body is None or not spec.shared:
                kind = SimBaBody if spec.trunk == "simba" else Body
                body = kind(spec, observation_shape, self.members, generators)
            self.branches[name] = Branch(body, spec, head, self.members, generators)
            self.add_module(name, self.branches[name])

    @property
    def bodies(self) -> list[Body]:
        """The bodies, each once, in the order of construction."""
        return list(dict.fromkeys(branch.body for branch in self.branches.values()))

    def inputs(self, obs: Observations) -> Observations:
        """Observations (M, B, *shape) of any type as the first layers take them.

        Binary observations of an MLP on a CPU become a :class:`SparseBatch`, all others floats, see
        :meth:`NetworkSpec.arrange`.
        """
        listed = self.listed(obs)
        return listed if isinstance(listed, SparseBatch) else self.spec.arrange(listed)

    def listed(self, obs: Observations) -> Observations:
        """Observations (M, B, *shape), as a `SparseBatch` where the network takes one."""
        if isinstance(obs, SparseBatch) or not self.takes_sparse(obs):
            return obs
        return encode(obs.flatten(0, 1), self.members)

    def takes_sparse(self, obs: Tensor) -> bool:
        """True if observations like these are listed by their ones."""
        binary = obs.dtype == torch.bool and obs.device.type == "cpu"
        return binary and self.fast and self.spec.torso == "mlp"

    def features(self, obs: Observations) -> dict[str, list[Tensor]]:
        """Outputs of every hidden layer of every branch, see :meth:`Body.features`."""
        return self._per_branch(Body.features, obs)

    def activations(self, obs: Observations) -> dict[str, list[Tensor]]:
        """Activations of every hidden layer's units, see :meth:`Body.activations`."""
        return self._per_branch(Body.activations, obs)

    def preactivations(self, obs: Observations) -> dict[str, list[Tensor]]:
        """Every hidden layer's input to its activation, each (M, B, units, ...)."""
        return self._per_branch(Body.preactivations, obs)

    def _per_branch(
        self, read: Callable[[Body, Observations], list[Tensor]], obs: Observations
    ) -> dict[str, list[Tensor]]:
        """Read every body once; branches of one body get the same list."""
        x = self.inputs(obs)
        found = {body: read(body, x) for body in self.bodies}
        return {name: found[branch.body] for name, branch in self.branches.items()}

    def forward(self, obs: Observations) -> dict[str, Tensor]:
        """Every branch's outputs for (M, B, *shape): each (M, B, outputs)."""
        return self._outputs(obs, self.branches)

    def branch(self, name: str, obs: Observations) -> Tensor:
        """One branch's outputs, (M, B, outputs), without computing the others."""
        return self._outputs(obs, {name: self.branches[name]})[name]

    def _outputs(self, obs: Observations, branches: Mapping[str, Branch]) -> dict[str, Tensor]:
        x = self.inputs(obs)
        if self.fast and self.batchable and all(unaltered(branch) for branch in branches.values()):
            outputs = batched_forward(
                x, list(branches.values()), self.spec.activation, self.precision
            )
            pairs = zip(branches.items(), outputs, strict=True)
            return {name: branch.complete(output) for (name, branch), output in pairs}
        with torch.autocast(
            next(self.parameters()).device.type,
            self.precision,
            enabled=self.precision != torch.float32,
        ):
            bodies = dict.fromkeys(branch.body for branch in branches.values())
            features = {body: body(x) for body in bodies}
            return {
                name: branch.complete(branch.head(features[branch.body])).float()
                for name, branch in branches.items()
            }

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw every weight anew, in place; parameters stay the same tensors."""
        drawn: Body | None = None
        for branch in self.branches.values():
            if branch.body is not drawn:
                branch.body.reset_parameters(generators)
            branch.reset_head(generators)
            drawn = branch.body

    def weights(self) -> list[nn.Parameter]:
        """All parameters but the log standard deviations of a Gaussian policy."""
        others = {id(branch.log_std) for branch in self.branches.values()}
        return [parameter for parameter in self.parameters() if id(parameter) not in others]

    def named_branch_parameters(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of each branch, or all as `shared` where branches have one body.

        Gradient norms are taken over these lists.
        """
        if self.spec.shared:
            return {"shared": list(self.parameters())}
        return {name: list(branch.parameters()) for name, branch in self.branches.items()}
