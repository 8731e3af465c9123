"""An agent of Stable-Baselines3 on a pole that grows and shrinks, kept isometric and watched.

python examples/sb3_callbacks.py --steps 16384
"""

import argparse

import gymnasium
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor

from neoteny.sb3.callbacks import DiagnosticsCallback, IsometryCallback
from neoteny.wrappers import Cyclic, Dynamics, NonStationary


def main() -> None:
    """Train, then print the diagnostics of the last rollout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=16_384)
    parser.add_argument("--logdir", help="folder for TensorBoard's events")
    options = parser.parse_args()
    pole = Dynamics("length", (0.5, 1.0))
    env = NonStationary(gymnasium.make("CartPole-v1"), Cyclic(4_096, 2), [pole])
    agent = PPO(
        "MlpPolicy", Monitor(env), n_steps=512, seed=0, device="cpu", tensorboard_log=options.logdir
    )
    isometry, diagnostics = IsometryCallback(), DiagnosticsCallback(every=2_048)
    agent.learn(options.steps, callback=[isometry, diagnostics])
    for name, value in diagnostics.measure().items():
        print(f"{name:55} {value:.3f}")


if __name__ == "__main__":
    main()
