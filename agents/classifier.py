"""A classifier trained on a stream of minibatches, for M members at once.

Each minibatch is answered before it is learnt from, so the accuracy that a run reports is that on
samples of the present task as they come: online accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from neoteny.agents.agent import Agent, AgentConfig
from neoteny.agents.distributions import Categorical
from neoteny.agents.spaces import observation_shape
from neoteny.plasticity.interventions import TASK_STEPS, Intervention, OptimizerSettings
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec


@dataclass(frozen=True)
class ClassifierConfig(AgentConfig):
    """Hyper-parameters of the classifier. A step is one sample of one member."""

    batch_size: int = 128
    """Samples of one member in a minibatch."""
    updates_per_iteration: int = 50
    """Minibatches between two rows of the record."""
    learning_rate: float = 1e-3
    """Adam's step size, constant."""
    adam_eps: float = 1e-8
    """Adam's epsilon."""
    max_grad_norm: float | None = None
    """Largest gradient norm; none disables clipping."""

    limits: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("batch_size", "updates_per_iteration"), "at least 1"),
        **dict.fromkeys(("learning_rate", "adam_eps"), "at least 0"),
        "max_grad_norm": "above 0",
    }
    split: ClassVar[tuple[str, ...]] = ("batch_size",)

    @property
    def steps_per_iteration(self) -> int:
        """Samples of one member in an iteration."""
        return self.batch_size * self.updates_per_iteration

    @property
    def updates_per_step(self) -> float:
        """Gradient steps per sample."""
        return 1 / self.batch_size

    def optimizer_settings(self, task_steps: float = TASK_STEPS) -> OptimizerSettings:
        """Constants and times for interventions, where a task has `task_steps` samples.

        Samples come as they are learnt from, so an edit may follow any update, and how many make a
        row of the record is nobody's business.
        """
        return OptimizerSettings(
            self.learning_rate,
            self.adam_eps,
            updates_per_step=self.updates_per_step,
            task_steps=task_steps,
        )


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of each member, in nats.

    Args:
        logits: (M, B, classes).
        label: (M, B) int64.

    Returns:
        (M,) means over the minibatch.
    """
    log_probs = F.log_softmax(logits, dim=-1)
    return -log_probs.gather(-1, label.unsqueeze(-1)).squeeze(-1).mean(1)


class Classifier(Agent):
    """A classifier of supervised streams.

    Args:
        stream: A supervised stream of M members.
        config: Hyper-parameters.
        spec: Shape of the network's body.
        interventions: Applied by the learner, left to right.
        seeds: One seed per member.
        fast: Compute the network and its gradient as one batched operation; else run the plain
            modules under autograd, which give the same numbers up to round-off.
        precision: Type of the matrix products' factors, float32 or bfloat16.
        task_steps: Samples of a task, by which interventions are timed.
    """

    name = "classifier"
    config_class = ClassifierConfig
    learner: Learner
    preset = "supervised"
    supervised = True

    def __init__(
        self,
        stream: Any,
        config: ClassifierConfig,
        spec: NetworkSpec,
        interventions: Sequence[Intervention],
        seeds: Sequence[int],
        fast: bool = True,
        precision: torch.dtype = torch.float32,
        task_steps: float = TASK_STEPS,
    ) -> None:
        self.config = config
        self.members = len(seeds)
        self.device = torch.device(stream.device)
        shape = observation_shape(stream.single_observation_space)
        heads = {"logits": HeadSpec(stream.classes, distribution=Categorical(stream.classes))}
        self.learner = Learner(
            lambda final_spec, generators: Network(
                final_spec, shape, heads, generators, fast=fast, precision=precision
            ),
            spec,
            interventions,
            config.optimizer_settings(task_steps),
            seeds,
            max_grad_norm=config.max_grad_norm,
            device=self.device,
        )
        self.network: Network = self.learner.network

    def iterate(self, stream: Any) -> dict[str, Tensor]:
        """Draw minibatches and learn from them."""
        self._samples = self.collect(stream)
        return self.learn(self._samples)

    def recent(self, count: int) -> Tensor:
        """Observations of the last minibatches."""
        found: Tensor = self._samples.first(count)[0]
        return found

    def recent_targets(self, count: int) -> dict[str, Tensor]:
        """Labels as unit vectors, less their mean: (M, B, classes)."""
        logits = self.network.branches["logits"].head.out_features
        units = F.one_hot(self._samples.first(count)[1], logits).float()
        return {"logits": units - units.mean(1, keepdim=True)}

    def collect(self, stream: Any) -> Any:
        """The iteration's minibatches, from the stream."""
        return stream.draw(self.config.updates_per_iteration, self.config.batch_size)

    def learn(self, samples: Any) -> dict[str, Tensor]:
        """Classify every minibatch, then learn from it; the predictions go to the stream.

        Returns:
            Name to (M,): cross-entropy and gradient norm, averaged over the minibatches.
        """
        totals = torch.zeros(2, self.members, device=self.device)
        correct = torch.zeros(self.members, dtype=torch.int64, device=self.device)
        for index in range(len(samples)):
            obs, label = samples[index]
            label = self.learner.share(label)
            logits = self.network(self.learner.share(obs))["logits"]
            loss = cross_entropy(logits, label)
            with torch.no_grad():
                correct += (logits.argmax(-1) == label).sum(1)
            norm = self.learner.update(loss, obs)
            totals += torch.stack([loss.detach(), norm])
        ranks = self.learner.ranks
        correct = correct if ranks is None else ranks.sum(correct)
        samples.stream.score(correct, len(samples) * self.config.batch_size)
        loss, norm = self.learner.mean(totals) / len(samples)
        return {"losses/cross_entropy": loss, "losses/gradient_norm/network": norm}

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-exact resume needs besides the stream, the learner included."""
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.learner.load_state_dict(state["learner"])
