"""The learner: the only `backward()` and the only `optimizer.step()` in the project.

PPO, DQN and the classifier hand over a loss and the observations it was computed from.
Interventions act here, through hooks, so that no learning algorithm knows which of them are on.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from neoteny.core.errors import InputError
from neoteny.core.ranks import Ranks
from neoteny.core.seeding import child_generators
from neoteny.plasticity.networks import Network, NetworkSpec, Observations
from neoteny.plasticity.optimizer_settings import OptimizerSettings

UPDATE_HOOKS = {"loss", "after_backward", "after_step"}
"""The hooks that are called in every update."""


class Hooks:
    """An intervention as the learner calls it; `Intervention` adds what runs and reports read."""

    name: ClassVar[str]
    """Its name in the registry."""
    hooks: ClassVar[frozenset[str]] = frozenset()
    """The hooks that the class overrides; the learner calls no others in an update."""
    static: ClassVar[bool] = False
    """True if its hooks run the same operations on the same memory at every update, whatever its
    number, at which it `rests`."""
    state: dict[str, Tensor]
    """Tensors that a resume needs."""

    def rests(self, learner: Learner) -> bool:
        """True if a CUDA graph may replay its hooks in the coming update."""
        return self.static

    def spec(self, spec: NetworkSpec) -> NetworkSpec:
        """Change the architecture before the network is built."""
        return spec

    def optimizer(self, network: Network, settings: OptimizerSettings) -> Optimizer | None:
        """Replace the optimiser; at most one intervention may answer."""
        return None

    def start(self, learner: Learner) -> None:
        """Take snapshots of the initial network."""

    def loss(self, learner: Learner, obs: Observations) -> Tensor | float:
        """A penalty (M,) added to the loss, inside gradient clipping."""
        return 0.0

    def after_backward(self, learner: Learner, obs: Observations) -> None:
        """Edit gradients before they are clipped."""

    def after_step(self, learner: Learner, obs: Observations) -> None:
        """Edit weights after the optimiser's step."""

    def edited(self, learner: Learner, layer: Any = None, units: Tensor | None = None) -> None:
        """Discard state about weights that were changed other than by a step.

        Args:
            learner: owner of the network.
            layer: the layer with new units, None if no unit is a new one.
            units: (M, units) bool, the new ones; None for all.
        """

    def boundary(self, learner: Learner, task: Tensor) -> None:
        """The task has changed to `task` (M,)."""


def make_optimizer(
    network: Network, interventions: Sequence[Hooks], settings: OptimizerSettings
) -> Optimizer:
    """The optimiser that an intervention asks for, or Adam.

    Raises:
        ValueError: If two interventions bring an optimiser.
    """
    answers = {
        intervention.name: optimizer
        for intervention in interventions
        if (optimizer := intervention.optimizer(network, settings)) is not None
    }
    if len(answers) > 1:
        raise InputError(f"interventions {' and '.join(answers)} each bring an optimiser: keep one")
    if answers:
        return next(iter(answers.values()))
    return Adam(network.parameters(), **settings.adam)


def reset_optimizer(optimizer: Optimizer) -> None:
    """Zero every moment and step count, which is the state that a new optimiser starts from."""
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.zero_()


class Learner:
    """Updates a network of M members, with interventions composed left to right.

    A member whose gradient becomes non-finite is frozen: from that update on it receives no
    gradient, and once :meth:`freeze` has told the host it does not move at all. The other members
    are untouched.

    Args:
        build: Makes the network from a spec and one generator per member.
        spec: The base network; interventions may change it before it is built.
        interventions: Applied in this order at every hook.
        settings: Learning rate and Adam constants shared by all optimisers that are compared.
        seeds: One seed per member.
        max_grad_norm: Largest gradient norm per member and group; `None` disables clipping.
        clip_per_branch: Clip each branch by its own norm (the paper's separate actor and critic) or
            all by one.
        device: Where the network lives.
        reports_losses: True if losses have their task values; False if only their gradient is
            meaningful.
    """

    def __init__(
        self,
        build: Callable[[NetworkSpec, Sequence[torch.Generator]], Network],
        spec: NetworkSpec,
        interventions: Sequence[Hooks],
        settings: OptimizerSettings,
        seeds: Sequence[int],
        *,
        max_grad_norm: float | None = 0.5,
        clip_per_branch: bool = True,
        device: torch.device | str = "cpu",
        reports_losses: bool = True,
    ) -> None:
        for intervention in interventions:
            spec = intervention.spec(spec)
        self.seeds = tuple(seeds)
        self.network = build(spec, child_generators(self.seeds, "init")).to(device)
        self.interventions = tuple(interventions)
        self.settings = settings
        self.max_grad_norm = max_grad_norm
        self.alive = torch.ones(len(self.seeds), dtype=torch.bool, device=device)
        bits = torch.tensor([-1, 0], dtype=torch.int32, device=device)
        self._keep, self._drop = bits.unbind()  # all bits of a gradient, or none
        self.optimizer: Optimizer = make_optimizer(self.network, self.interventions, settings)
        for group in self.optimizer.param_groups:
            if "capturable" in group:  # no step count is read on the host
                group["capturable"] = self.alive.is_cuda
        self.targets: list[Network] = []
        """Copies of the network that follow every reset of units; DQN adds its target network."""
        self.beginnings: list[Callable[[], None]] = []
        """Steps of an agent, besides a new network, to begin anew; DQN empties its replay
        and explores again."""
        self.ranks: Ranks | None = None
        """Processes that update the same network, each from its share of every minibatch; None for
        this one alone."""
        self.reports_losses = reports_losses
        self.losses: dict[str, Tensor] = {}
        """The last update's task loss of each branch, (M,)."""
        self.updates = 0
        self.boundaries = 0
        self.any_frozen = False
        """True if the host knows of a frozen member, so that updates must restore its weights."""
        self._parameters = list(self.network.parameters())
        self._groups = self._clipping_groups(clip_per_branch)
        self._hooked = {
            hook: [i for i in self.interventions if hook in i.hooks] for hook in UPDATE_HOOKS
        }
        self.branch_norms: dict[str, Tensor] = {}
        for intervention in self.interventions:
            intervention.start(self)

    def _clipping_groups(self, per_branch: bool) -> dict[str, list[nn.Parameter]]:
        if per_branch:
            return self.network.named_branch_parameters()
        return {"network": self._parameters}

    def generators(self, stream: str, index: int) -> list[torch.Generator]:
        """One generator per member for draws on the host, from a named stream of its own."""
        return child_generators(self.seeds, stream, index)

    def share(self, batch: Tensor) -> Tensor:
        """The part of a batch (M, B, ...) that this process computes the loss of."""
        return batch if self.ranks is None else self.ranks.share(batch)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over all processes of statistics of their shares; `values` may be overwritten."""
        return values if self.ranks is None else self.ranks.mean(values)

    @property
    def reads_others(self) -> bool:
        """True if interventions may read minibatches of which this process has but a share."""
        return self.ranks is not None and any(self._hooked.values())

    def update(
        self, loss: Tensor, obs: Observations, branch_losses: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Take one gradient step.

        Where several processes share a minibatch, gradients and losses are averaged over them:
        interventions, clipping and the optimiser find the same numbers in all of them.

        Args:
            loss: (M,) one loss per member; differentiating their sum leaves each member its own
                gradient.
            obs: (M, B, *shape) the observations that the loss was computed from, or their ones; of
                all processes, if interventions read them.
            branch_losses: Task loss (M,) of each branch by name; unset, `loss` for every branch.

        Returns:
            (M,) gradient norm over the whole network before clipping.
        """
        self.losses = dict.fromkeys(self.network.branches, loss.detach()) | dict(
            branch_losses or {}
        )
        if self.reads_others:
            means = self.mean(torch.stack(list(self.losses.values())))
            self.losses = dict(zip(self.losses, means, strict=True))
        for intervention in self._hooked["loss"]:
            loss = loss + intervention.loss(self, obs)
        for parameter in self._parameters:
            parameter.grad = None
        loss.sum().backward()  # type: ignore[no-untyped-call]
        if self.ranks is not None:
            self.ranks.average([p.grad for p in self._parameters if p.grad is not None])
        for intervention in self._hooked["after_backward"]:
            intervention.after_backward(self, obs)
        with torch.no_grad():
            norm = self._clip_gradients()
            before = [p.detach().clone() for p in self._parameters] if self.any_frozen else []
            self.optimizer.step()
            self.updates += 1
            for intervention in self._hooked["after_step"]:
                intervention.after_step(self, obs)
            for parameter, old in zip(self._parameters, before, strict=bool(before)):
                alive = self.alive.view(-1, *[1] * (parameter.dim() - 1))
                parameter.copy_(torch.where(alive, parameter, old))
        return norm

    def _clip_gradients(self) -> Tensor:
        """Clip the gradients of each group: norm (M,) over all of them."""
        groups = [
            [p.grad.view(len(p), -1) for p in group if p.grad is not None]
            for group in self._groups.values()
        ]
        norms = [_norm(group) for group in groups]  # each (M,)
        self.branch_norms = dict(zip(self._groups, norms, strict=True))
        together = torch.stack(norms)
        self.alive.logical_and_((together < math.inf).all(0))  # false for NaN as well
        if self.max_grad_norm is None:
            scales = torch.ones_like(together)
        else:
            scales = (self.max_grad_norm / (together + 1e-6)).clamp_(max=1.0)
        bits = torch.where(self.alive, self._keep, self._drop).unsqueeze(1)
        for group, scale in zip(groups, scales.unsqueeze(2), strict=True):
            torch._foreach_mul_(group, [scale] * len(group))
            for gradient in group:
                # Zero times NaN is NaN, and selecting numbers by a mask is slow on a CPU.
                gradient.view(torch.int32).bitwise_and_(bits)
        return _norm_of(norms)

    def freeze(self, alive: Sequence[bool]) -> None:
        """Tell the host which members are still finite, once an iteration.

        From the first frozen member on, every update restores the frozen members' parameters,
        which costs a copy of the network; until then freezing costs nothing.
        """
        self.any_frozen = not all(alive)

    @property
    def static(self) -> bool:
        """True if the coming update runs the same operations as all others at which this is true.

        Then it can be recorded; between the replays, interventions that act rarely do so.
        """
        return all(intervention.rests(self) for intervention in self.interventions)

    def boundary(self, task: Tensor) -> None:
        """Tell the interventions that the task has changed; only called in the task-aware protocol.

        Args:
            task: (M,) index of the new task.
        """
        self.boundaries += 1
        for intervention in self.interventions:
            intervention.boundary(self, task)

    def edited(self, layer: Any = None, units: Tensor | None = None) -> None:
        """Tell the interventions that weights were moved other than by a step.

        Args:
            layer: The layer with new units, None if no unit is a new one.
            units: (M, units) bool, the new ones; None for all.
        """
        for intervention in self.interventions:
            intervention.edited(self, layer, units)

    def reset_optimizer(self) -> None:
        """Forget the optimiser's moments and step counts, in place."""
        reset_optimizer(self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-exact resume needs."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "interventions": [dict(intervention.state) for intervention in self.interventions],
            "updates": self.updates,
            "task_steps": self.settings.task_steps,
            "boundaries": self.boundaries,
            "alive": self.alive,
            "any_frozen": self.any_frozen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))  # torch keeps the tensors
        for intervention, saved in zip(self.interventions, state["interventions"], strict=True):
            for name, value in saved.items():
                intervention.state[name] = value.to(self.alive.device, copy=True)
        self.updates = state["updates"]
        # A run of one task that is made longer keeps the periods that it began with.
        self.settings = replace(
            self.settings, task_steps=state.get("task_steps", self.settings.task_steps)
        )
        self.boundaries = state["boundaries"]
        self.alive.copy_(state["alive"])
        self.any_frozen = state["any_frozen"]


def _norm(gradients: Sequence[Tensor]) -> Tensor:
    """Norm (M,) over all gradients (M, n) of a member."""
    return _norm_of([torch.linalg.vector_norm(gradient, dim=1) for gradient in gradients])


def _norm_of(norms: Sequence[Tensor]) -> Tensor:
    """Norm (M,) of a vector from the norms (M,) of its pieces."""
    if len(norms) == 1:
        return norms[0]
    whole: Tensor = torch.stack(list(norms)).norm(dim=0)
    return whole
