"""An environment, a stream, an intervention and a diagnostic of one's own, compared and plotted.

python second_day.py --out second_day

It needs the installed package and no checkout. Everything is defined in this file, trained by
`neoteny.compare`, read back by `neoteny.results` and drawn with matplotlib. The commands take the
same file: `neoteny compare --plugin second_day.py --env chase --interventions none shrink`.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import matplotlib
import numpy as np
import pandas as pd
from gymnasium.spaces import Box, Discrete
from torch import Tensor

import neoteny
from neoteny.plasticity.diagnostics import DIAGNOSTICS, Weights
from neoteny.plasticity.interventions import Intervention, Learner, hidden_layers
from neoteny.wrappers import STREAMS, ActionPermutation, Cyclic, NonStationaryVector, StreamContext

TURN = 0.3
"""Radians that an action turns by."""


class Chase(gymnasium.Env[Any, Any]):
    """Stay close to a target that wanders on a circle; every step pays the cosine of the angle."""

    observation_space = Box(-1, 1, (2,))
    action_space = Discrete(3)  # turn left, stay, turn right

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Start at any angle from the target."""
        super().reset(seed=seed)
        self.angle = self.np_random.uniform(-np.pi, np.pi)
        return self.seen(), {}

    def step(self, action: Any) -> Any:
        """Turn, while the target takes a random step."""
        self.angle += TURN * (int(action) - 1) + self.np_random.normal(0, 0.1)
        return self.seen(), float(np.cos(self.angle)), False, False, {}

    def seen(self) -> Any:
        """The angle between agent and target as a point of the unit circle."""
        return np.array([np.cos(self.angle), np.sin(self.angle)], np.float32)


gymnasium.register("Chase-v0", Chase, max_episode_steps=32)


@STREAMS.register("chase")
def chase(context: StreamContext, **options: Any) -> NonStationaryVector:
    """Chase with actions that change their meaning in every task."""
    env = context.make("Chase-v0", **options)
    schedule = Cyclic(context.period(12_288), 3)
    meanings = ActionPermutation(actions=3, tasks=3, seed=1)
    names = ["Chase", "Chase 2", "Chase 3"]  # beginning with the first: variants of one environment
    return NonStationaryVector(env, schedule, [meanings], task_names=names)


@dataclass
class Shrink(Intervention):
    """Shrink the weights of the hidden layers a little after each update."""

    name: ClassVar[str] = "shrink"
    limits: ClassVar[dict[str, str]] = {"half_life": "above 0"}
    half_life: float = 500.0
    """Updates in which the weights would halve."""

    def after_step(self, learner: Learner, obs: Any) -> None:
        """Multiply in place, all members at once."""
        for layer in hidden_layers(learner.network):
            layer.weight.mul_(0.5 ** (1 / self.half_life))
        self.state["activity"] += 1


@DIAGNOSTICS.of(Weights)
def weight_kurtosis(layer: Weights) -> Tensor:
    """Kurtosis of a layer's weights, 3 for normal ones: it grows as few weights take over. (M,)."""
    centred = layer.matrix - layer.matrix.mean((1, 2), keepdim=True)
    return centred.pow(4).mean((1, 2)) / centred.square().mean((1, 2)).square()


def plot(frame: pd.DataFrame, path: Path) -> None:
    """Mean over seeds of return and kurtosis against steps, a line for each arm."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = ["charts/episodic_return", "plasticity/policy/layer0/weight_kurtosis"]
    figure, axes = pyplot.subplots(1, len(names), figsize=(9, 3.5), layout="constrained")
    for axis, name in zip(axes, names, strict=True):
        for arm, rows in frame[frame["name"] == name].groupby("arm"):
            mean = rows.groupby("step")["value"].mean()
            axis.plot(mean.index, mean, label=arm)
        axis.set(xlabel="steps", ylabel=name.rpartition("/")[2].replace("_", " "))
    axes[0].legend()
    figure.savefig(path, dpi=150)


def main() -> None:
    """Compare, print the summary, plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("second_day"))
    parser.add_argument("--steps", type=int, default=36_864)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    summary = neoteny.compare(
        env="chase",
        interventions=["none", "shrink"],
        seeds=options.seeds,
        steps=options.steps,
        task_steps=options.steps // 3,
        num_envs=16,
        num_steps=32,
        num_minibatches=4,
        hidden=(32, 32),
        diagnose_every=4,
        out=options.out,
    )
    print(summary[["arm", "score"]].to_string(index=False))
    plot(neoteny.results(options.out), options.out / "second_day.png")
    print(f"figure: {options.out / 'second_day.png'}")


if __name__ == "__main__":
    main()
