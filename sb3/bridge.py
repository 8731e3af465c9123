"""Interventions in the agents of Stable-Baselines3, through the same gateway as in ours.

The agent's network is mirrored by a network of one member whose parameters share its memory, and
the agent's optimiser is replaced by one that hands each gradient to a learner. So every hook acts
as it does in our agents, with two differences: penalties and edits of gradients come after the
agent has clipped, and what changes the architecture is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium.spaces import Box, Discrete
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor, nn

from neoteny.agents.distributions import ActionDistribution, action_distribution
from neoteny.agents.spaces import observation_shape
from neoteny.core.errors import InputError
from neoteny.plasticity.interventions import Intervention, OptimizerSettings
from neoteny.plasticity.layers import GroupSort
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec
from neoteny.sb3.policy_networks import Branch, branches

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "groupsort": GroupSort,
}
"""Our activations that are modules with as many outputs as inputs."""

_ARCHITECTURAL = frozenset({"scale_adamo"})
"""Interventions that change the network's function by other means than its spec."""


def bridged(intervention: Intervention) -> bool:
    """True if an intervention acts in an agent of Stable-Baselines3 as it does in ours."""
    keeps = type(intervention).spec is Intervention.spec
    return keeps and intervention.name not in _ARCHITECTURAL


class Gateway:
    """The object in the place of the agent's optimiser: every step is one of the learner.

    Args:
        learner: of one member, whose network mirrors the policy's.
        theirs: the policy's parameters in the order of the network's.
        extractors: modules that are given the observations of a minibatch.
    """

    def __init__(
        self, learner: Learner, theirs: Sequence[nn.Parameter], extractors: Sequence[nn.Module]
    ) -> None:
        self.learner = learner
        self.theirs = list(theirs)
        self._obs: Tensor | None = None
        for extractor in extractors:
            extractor.register_forward_pre_hook(self._see)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Groups of the learner's optimiser: the agent sets their learning rate."""
        return self.learner.optimizer.param_groups

    def _see(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if torch.is_grad_enabled():
            self._obs = inputs[0].detach()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for parameter in self.theirs:
            parameter.grad = None

    def step(self) -> None:
        """Hand the gradients over: they are those of the sum of gradient times parameter."""
        ours = self.learner.network.parameters()
        loss = torch.stack(
            [
                (parameter * their.grad).sum()
                for parameter, their in zip(ours, self.theirs, strict=True)
                if their.grad is not None
            ]
        ).sum()
        assert self._obs is not None
        self.learner.update(loss.unsqueeze(0), self._obs.unsqueeze(0))

    def state_dict(self) -> dict[str, Any]:
        """The state of the learner's optimiser."""
        return self.learner.optimizer.state_dict()


def attach(
    agent: BaseAlgorithm,
    activation: str,
    interventions: Sequence[Intervention],
    settings: OptimizerSettings,
    seed: int,
) -> Learner:
    """Let interventions act in an agent; from now on the learner takes its steps.

    Args:
        agent: PPO, A2C or DQN with an "MlpPolicy".
        activation: that of its hidden layers, one of `ACTIVATIONS`.
        interventions: applied left to right.
        settings: of the optimiser, which the learner makes anew.
        seed: of what interventions draw.

    Returns:
        The learner, of one member.

    Raises:
        ValueError: if an intervention changes the architecture, the policy is not an MLP on a
            Box, or its exploration depends on the state.
    """
    for intervention in interventions:
        if not bridged(intervention):
            raise InputError(
                f"intervention {intervention.name!r} changes the architecture, which is that of "
                "Stable-Baselines3 here: leave it out or use --agent ppo or dqn"
            )
    policy: Any = agent.policy
    known = branches(policy)
    if any(list(branch.extractor.parameters()) for branch in known.values()):
        raise InputError(f"{type(policy).__name__} has layers before its MLP: use MlpPolicy")
    if getattr(agent, "use_sde", False):
        raise InputError("use_sde is True: exploration here does not depend on the state; drop it")
    shape = observation_shape(agent.observation_space)
    distribution = None
    if "policy" in known and isinstance(agent.action_space, Discrete | Box):
        distribution = action_distribution(agent.action_space, policy.log_std_init, agent.device)
    learner = Learner(
        lambda spec, generators: _mirror(known, spec, shape, generators, distribution),
        _spec(known, activation),
        interventions,
        settings,
        [seed],
        max_grad_norm=None,  # the agent clips
        device=agent.device,
        reports_losses=False,
    )
    if isinstance(policy, DQNPolicy):
        theirs: Any = policy.q_net_target
        target = Branch(theirs.features_extractor, theirs.q_net[:-1], theirs.q_net[-1])
        learner.targets = [_mirror({"q": target}, learner.network.spec, shape, [_any_generator()])]
    extractors = {id(branch.extractor): branch.extractor for branch in known.values()}
    policy.optimizer = Gateway(learner, _parameters(known), list(extractors.values()))
    return learner


def _spec(known: dict[str, Branch], activation: str) -> NetworkSpec:
    widths = {tuple(layer.out_features for layer in b.hidden()) for b in known.values()}
    if len(widths) > 1:
        raise InputError(f"the policy's branches differ in widths, {sorted(widths)}: give them one")
    return NetworkSpec(hidden=widths.pop(), activation=activation)


def _any_generator() -> torch.Generator:
    """For weights that are replaced at once."""
    return torch.Generator().manual_seed(0)


def _mirror(
    known: dict[str, Branch],
    spec: NetworkSpec,
    shape: tuple[int, ...],
    generators: Sequence[torch.Generator],
    distribution: ActionDistribution | None = None,
) -> Network:
    """A network of one member whose parameters are the policy's, in the same memory."""
    heads = {
        name: HeadSpec(
            branch.head.out_features, distribution=distribution if name == "policy" else None
        )
        for name, branch in known.items()
    }
    network = Network(spec, shape, heads, generators)
    for ours, theirs in zip(network.parameters(), _parameters(known), strict=True):
        ours.data = theirs.data.unsqueeze(0)
    return network


def _parameters(known: dict[str, Branch]) -> list[nn.Parameter]:
    """The policy's parameters in the order of a network's."""
    found: list[nn.Parameter] = []
    for branch in known.values():
        found += [] if branch.log_std is None else [branch.log_std]
        for layer in (*branch.hidden(), branch.head):
            found += [layer.weight, layer.bias]
    return found
