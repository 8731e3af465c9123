"""The policies of Stable-Baselines3 as networks with branches, hidden layers and heads.

They declare no roles, but they name their heads: `action_net` and `value_net` of actor and critic,
the last layer of `q_net.q_net`. So roles are read from the policy and not guessed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor, nn

from neoteny.core.errors import InputError
from neoteny.plasticity.diagnostics.trace import layer_weights
from neoteny.plasticity.groups import CONVOLUTIONS

_WEIGHTED = (nn.Linear, *CONVOLUTIONS)
_SHAPING = (nn.Flatten, nn.Identity, nn.Dropout)


@dataclass(frozen=True)
class Branch:
    """The modules that compute one of a policy's outputs."""

    extractor: nn.Module
    """From preprocessed observations to features."""
    body: nn.Sequential
    """Layers and activations after the extractor."""
    head: nn.Linear
    """The output layer."""
    log_std: nn.Parameter | None = None
    """Log standard deviations of a Gaussian policy that do not depend on the observation."""

    def chain(self) -> list[nn.Module]:
        """The modules without parts of their own, in the order in which they are declared."""
        modules = [*self.extractor.modules(), *self.body.modules()]
        return [module for module in modules if not list(module.children())]

    def hidden(self) -> list[Any]:
        """The layers with weights, those of the extractor first."""
        return [module for module in self.chain() if isinstance(module, _WEIGHTED)]

    def features(self, x: Tensor) -> list[Tensor]:
        """The activations of the hidden layers on preprocessed observations (B, ...).

        Raises:
            ValueError: if the extractor does more than apply its modules one after the other.
        """
        found: list[Tensor] = []
        out = x
        for module in self.chain():
            out = module(out)
            if isinstance(module, _WEIGHTED):
                found.append(out)
            elif found and not isinstance(module, _SHAPING):
                found[-1] = out
        if not torch.allclose(out, self.body(self.extractor(x)), atol=1e-5):
            raise InputError(
                f"{type(self.extractor).__name__} is more than a chain of its layers: "
                "its activations cannot be read"
            )
        return found


def branches(policy: BasePolicy) -> dict[str, Branch]:
    """The branches of a policy: `policy` and `value` of PPO and A2C, `q` of DQN.

    Raises:
        ValueError: if it is another kind of policy.
    """
    if isinstance(policy, ActorCriticPolicy) and hasattr(policy.mlp_extractor, "policy_net"):
        bodies: Any = policy.mlp_extractor
        actor, critic = policy.pi_features_extractor, policy.vf_features_extractor
        head: Any = policy.action_net
        return {
            "policy": Branch(actor, bodies.policy_net, head, getattr(policy, "log_std", None)),
            "value": Branch(critic, bodies.value_net, policy.value_net),
        }
    if isinstance(policy, DQNPolicy):
        network: Any = policy.q_net
        return {"q": Branch(network.features_extractor, network.q_net[:-1], network.q_net[-1])}
    raise InputError(
        f"{type(policy).__name__} is not known: give PPO's or A2C's ActorCriticPolicy or "
        "DQNPolicy, or give AdamO and diagnose the networks themselves, see docs/python.md"
    )


def stored_observations(agent: Any, most: int) -> npt.NDArray[Any]:
    """At most `most` observations (B, *shape), evenly spread over a rollout or a replay.

    Args:
        agent: of Stable-Baselines3.
        most: all that are stored come where they are fewer.
    """
    off_policy = isinstance(agent, OffPolicyAlgorithm)
    buffer: Any = agent.replay_buffer if off_policy else agent.rollout_buffer
    rows = buffer.n_envs * (buffer.size() if off_policy else buffer.buffer_size)
    stored: npt.NDArray[Any] = buffer.observations.reshape(-1, *buffer.obs_shape)[:rows]
    picked: npt.NDArray[Any] = stored[np.linspace(0, rows - 1, min(most, rows)).astype(int)]
    return picked


@dataclass(frozen=True)
class _Layer:
    """The same layer of M policies."""

    modules: list[Any]

    @property
    def weight(self) -> Tensor:
        return torch.cat([layer_weights(module)[""].detach() for module in self.modules])


@dataclass(frozen=True)
class _Body:
    layers: list[_Layer]


@dataclass(frozen=True)
class _Seen:
    body: _Body
    head: _Layer


class PolicyNetworks:
    """M policies of one kind as `diagnose` reads a network of M members.

    Args:
        policies: M policies with layers of the same shapes.

    Raises:
        ValueError: if a policy is of an unknown kind.
    """

    def __init__(self, policies: Sequence[BasePolicy]) -> None:
        self.policies = list(policies)
        self.members = len(self.policies)
        self._known = [branches(policy) for policy in self.policies]
        self.branches = {name: self._seen(name) for name in self._known[0]}

    def _seen(self, name: str) -> _Seen:
        mine = [known[name] for known in self._known]
        layers = zip(*(branch.hidden() for branch in mine), strict=True)
        heads = _Layer([branch.head for branch in mine])
        return _Seen(_Body([_Layer(list(layer)) for layer in layers]), heads)

    def parameters(self) -> Iterator[Tensor]:
        """The trained parameters, each (M, ...)."""
        trained = [p.q_net if isinstance(p, DQNPolicy) else p for p in self.policies]
        for same in zip(*(module.parameters() for module in trained), strict=True):
            yield torch.stack([parameter.detach() for parameter in same])

    def features(self, obs: Tensor) -> dict[str, list[Tensor]]:
        """Activations of every hidden layer on (M, B, *obs), each (M, B, ...)."""
        inputs = [
            preprocess_obs(x, policy.observation_space, policy.normalize_images)
            for x, policy in zip(obs, self.policies, strict=True)
        ]
        found = {}
        for name in self.branches:
            mine = [
                known[name].features(x)
                for known, x in zip(self._known, inputs, strict=True)
                if isinstance(x, Tensor)
            ]
            found[name] = [torch.stack(same) for same in zip(*mine, strict=True)]
        return found
