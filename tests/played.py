"""Everything that environments return, stacked over time."""

import torch


def play(env, actions):
    """Observations, rewards, terminations, truncations and final observations, each (T, L, ...)."""
    outputs = []
    for action in actions:
        obs, reward, terminated, truncated, info = env.step(action)
        outputs.append((obs.clone(), reward, terminated, truncated, info["final_obs"]))
    return [torch.stack(column) for column in zip(*outputs, strict=True)]


def run(env, actions):
    """The first observations, repeated, in front of what `play` finds after a reset."""
    obs = env.reset()[0].clone()
    return [obs.expand(len(actions), *obs.shape), *play(env, actions)]


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a, b)
