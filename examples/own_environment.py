"""An environment of one's own twice: as Gymnasium has it, and as tensors that step at once.

python examples/own_environment.py --steps 65536

A room has to be kept at the temperature that is asked for, and the weather outside is what a
non-stationary stream changes. `Thermostat` is an ordinary Gymnasium environment, which runs on the
host, one step after the other; `ThermostatBatch` has the same dynamics as three functions of
tensors, which step thousands of lanes together. The script checks that both take the same steps,
times them, and trains on a stream of warm and cold seasons.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

import neoteny
import neoteny.envs
from neoteny.core import rng
from neoteny.envs.base import State, TensorEnv
from neoteny.wrappers import STREAMS, Cyclic, Dynamics, NonStationaryVector, StreamContext

POWER, LEAK, LIMIT = 0.5, 0.05, 100
OBSERVATIONS = Box(-np.inf, np.inf, (2,))
ACTIONS = Discrete(3)  # cool, nothing, heat


class Thermostat(gymnasium.Env[Any, Any]):
    """Keep a room at a temperature; a step costs the distance from it in tens of degrees.

    Attributes:
        outside: temperature outside, which a change of the dynamics may set.
    """

    observation_space, action_space = OBSERVATIONS, ACTIONS

    def __init__(self) -> None:
        self.outside = 10.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Draw the temperature inside and the one that is asked for."""
        super().reset(seed=seed)
        self.inside, self.asked = self.np_random.uniform(15, 25, 2)
        return self.seen(), {}

    def step(self, action: Any) -> Any:
        """Heat or cool for one step; episodes end by the registered limit alone."""
        self.inside += POWER * (int(action) - 1) + LEAK * (self.outside - self.inside)
        return self.seen(), -abs(self.inside - self.asked) / 10, False, False, {}

    def seen(self) -> Any:
        """Distance from the temperature that is asked for, and the temperature itself."""
        return np.array([self.inside - self.asked, self.inside - 20], np.float32) / 10


class ThermostatBatch(TensorEnv):
    """The same for all lanes at once: no loop over them, and no value that the host waits for."""

    slots = 2  # random numbers that a reset draws for a lane

    def __init__(
        self,
        num_envs: int,
        members: int = 1,
        device: torch.device | str = "cpu",
        seed: Any = 0,
        *,
        max_steps: int | None = LIMIT,
    ) -> None:
        super().__init__(OBSERVATIONS, ACTIONS, num_envs, members, device, seed, max_steps)
        self.parameters = {"outside": torch.full((self.num_envs,), 10.0, device=self.device)}

    def set_parameters(self, **values: Tensor) -> None:
        """Set parameters, one number or one a lane; the change `Dynamics` calls it."""
        for name, value in values.items():
            self.parameters[name].copy_(value)

    def _initial(self, draws: Tensor) -> State:
        inside, asked = 15 + 10 * rng.uniform(draws)  # (2, L) words
        return {"inside": inside, "asked": asked}

    def _transition(self, state: State, actions: Tensor, draws: Tensor) -> tuple[State, Any, Any]:
        inside = state["inside"]
        inside = inside + POWER * (actions - 1) + LEAK * (self.parameters["outside"] - inside)
        reward = (inside - state["asked"]).abs() / -10
        return {"inside": inside}, reward, torch.zeros_like(reward, dtype=torch.bool)

    def _observe(self, state: State) -> Tensor:
        inside = state["inside"]
        return torch.stack([inside - state["asked"], inside - 20], 1) / 10


gymnasium.register("Thermostat-v0", Thermostat, max_episode_steps=LIMIT)
neoteny.envs.register("neoteny/Thermostat-v0", ThermostatBatch, max_steps=LIMIT)


@STREAMS.register("thermostat-seasons")
def thermostat_seasons(context: StreamContext, **options: Any) -> NonStationaryVector:
    """Warm and cold weather in turns; `backend=host` steps the Gymnasium environment."""
    env = context.make("neoteny/Thermostat-v0", **options)
    seasons = [Dynamics("outside", (26.0, 12.0))]
    names = ["Thermostat", "Thermostat in winter"]
    return NonStationaryVector(env, Cyclic(context.period(16_384), 2), seasons, task_names=names)


def largest_difference(steps: int = LIMIT - 1) -> float:
    """Largest difference between both after the same actions from the same temperatures."""
    one, batch = Thermostat(), ThermostatBatch(1)
    one.reset(seed=0)
    batch.reset()
    one.inside, one.asked = (batch.state[name].item() for name in ("inside", "asked"))
    differences = []
    for action in np.random.default_rng(0).integers(3, size=steps):
        seen, reward, *_ = one.step(action)
        batch_seen, batch_reward, *_ = batch.step(torch.tensor([action]))
        seen_apart = np.abs(batch_seen[0].numpy() - seen).max()
        differences += [abs(batch_reward.item() - reward), seen_apart]
    return float(max(differences))


def steps_a_second(backend: str, lanes: int, steps: int = 50) -> float:
    """Steps of all lanes together, by the clock."""
    envs = neoteny.envs.make("Thermostat-v0", lanes, backend=backend)
    envs.reset()
    actions = torch.ones(lanes, dtype=torch.int64)
    begin = time.perf_counter()
    for _ in range(steps):
        envs.step(actions)
    return lanes * steps / (time.perf_counter() - begin)


def main() -> None:
    """Check, time, train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=65_536)
    parser.add_argument("--out", type=Path, default=Path("own_environment"))
    options = parser.parse_args()
    print(f"largest difference: {largest_difference():.1e}")
    for backend, lanes in (("host", 64), ("device", 4_096)):
        print(f"{backend}, {lanes:,} lanes: {steps_a_second(backend, lanes):,.0f} steps/s")
    run = neoteny.train(
        "thermostat-seasons",
        seeds=2,
        steps=options.steps,
        task_steps=options.steps // 4,
        num_envs=32,
        num_steps=32,
        num_minibatches=4,
        hidden=(32, 32),
        out=options.out,
    )
    returns = run.metrics.query("name == 'charts/episodic_return'")
    print(returns.groupby("visit")["value"].agg(["first", "last"]).to_string())


if __name__ == "__main__":
    main()
