"""Host environments that write all their observations into one array."""

import gymnasium
import numpy as np
import pytest
import torch

from neoteny.envs import make

ZEROS = torch.zeros(2, dtype=torch.int64)


class Reusing(gymnasium.Env):
    """Writes all its observations into one array."""

    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, kind="box"):
        self.seen = np.zeros(1, np.float32)
        box = gymnasium.spaces.Box(0, 100, (1,), np.float32)
        spaces = {"box": box, "dict": gymnasium.spaces.Dict(image=box, more=box)}
        self.observation_space = spaces[kind]
        self.shown = self.seen if kind == "box" else {"image": self.seen, "more": self.seen}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seen[:] = 0
        return self.shown, {}

    def step(self, action):
        self.seen += 1
        return self.shown, 1.0, False, bool(self.seen[0] >= 4), {}


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("options", [{}, {"kind": "dict"}, {"kind": "dict", "flatten": True}])
def test_the_last_observation_of_an_episode_is_not_written_over(vectorization, options):
    gymnasium.register("Reusing-v0", Reusing, disable_env_checker=True)
    try:
        env = make("Reusing-v0", 2, vectorization=vectorization, **options)
        env.reset()
        seen = [env.step(ZEROS) for _ in range(8)]
    finally:
        del gymnasium.registry["Reusing-v0"]
    env.close()
    assert [int(step[4]["final_obs"][1, 0]) for step in seen] == [1, 2, 3, 4] * 2
    assert [int(step[0][1, 0]) for step in seen] == [1, 2, 3, 0] * 2
