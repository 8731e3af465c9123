"""An intervention of one's own: weights keep the norm that they were initialised with.

python examples/own_intervention.py --steps 32768

It has a setting with a limit, state that a resumed run goes on with, and an activity counter. The
class registers itself by its name, so that from then on it is composed with the others and compared
like any of them; `neoteny compare --plugin own_intervention.py --interventions none keep_norm` does
the same without Python.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

import neoteny
from neoteny.plasticity.interventions import Intervention, Learner, Metadata, hidden_layers


@dataclass
class KeepNorm(Intervention):
    """Scale the weights of each hidden layer back to their initial norm after an update."""

    name: ClassVar[str] = "keep_norm"
    metadata: ClassVar[Metadata] = Metadata("Lyle et al., arXiv:2407.01800, in part")
    limits: ClassVar[dict[str, str]] = {"share": "from 0 to 1"}
    share: float = 1.0
    """Share of the way back to the initial norm, 0 for none of it."""

    def start(self, learner: Learner) -> None:
        """Remember the norms; what is in `state` is saved and loaded with the run."""
        super().start(learner)
        for index, layer in enumerate(hidden_layers(learner.network)):
            self.state[f"norm{index}"] = norm(layer.weight)

    def after_step(self, learner: Learner, obs: Any) -> None:
        """Scale in place; weights have the shape (members, out, in, ...)."""
        for index, layer in enumerate(hidden_layers(learner.network)):
            ratio = self.state[f"norm{index}"] / norm(layer.weight)
            layer.weight.mul_(ratio.pow(self.share))
        self.state["activity"] += 1


@torch.no_grad()
def norm(weight: Tensor) -> Tensor:
    """Frobenius norm of each member's weights, of linear layers and kernels, (members, 1, ...)."""
    return weight.square().sum(tuple(range(1, weight.dim())), keepdim=True).sqrt()


def main() -> None:
    """Compare it with Adam and in composition with AdamO, then print norms and returns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=32_768)
    parser.add_argument("--out", type=Path, default=Path("own_intervention"))
    options = parser.parse_args()
    neoteny.compare(
        "cartpole-permute",
        interventions=["none", "keep_norm", "keep_norm:share=0.5+adamo:half_life=8192"],
        seeds=2,
        steps=options.steps,
        task_steps=options.steps // 4,
        diagnose_every=4,
        num_envs=16,
        num_steps=64,
        num_minibatches=4,
        hidden=(64, 64),
        out=options.out,
    )
    frame = neoteny.results(options.out)
    names = ["charts/episodic_return", "plasticity/policy/layer1/weight_norm"]
    last = frame[frame["name"].isin(names)].groupby(["arm", "seed", "name"])["value"].last()
    print(last.groupby(["arm", "name"]).mean().unstack().to_string())


if __name__ == "__main__":
    main()
