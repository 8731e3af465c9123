"""Memory that agents say a step takes beside its observation, against the tensors that live."""

import inspect
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from neoteny import envs
from neoteny.agents import DQN, PPO, DQNConfig, PPOConfig
from neoteny.agents.replay import ReplayBuffer
from neoteny.plasticity.networks import NetworkSpec

OBSERVATION = 4 * 4
"""Bytes of CartPole's."""


class Live(TorchDispatchMode):
    """Counts the bytes of the tensors that operations have made and that still live."""

    def __init__(self):
        super().__init__()
        self.bytes = self.most = 0
        self.tensors = {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        out = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage(), tensor)
        self.most = max(self.most, self.bytes)
        return out

    def _count(self, storage, tensor):
        key = storage._cdata
        if key not in self.tensors:
            self.tensors[key] = 0
            self.bytes += storage.nbytes()
        self.tensors[key] += 1
        weakref.finalize(tensor, self._drop, key, storage.nbytes())

    def _drop(self, key, size):
        self.tensors[key] -= 1
        if not self.tensors[key]:
            del self.tensors[key]
            self.bytes -= size


def most_of_ppo(steps):
    """Most bytes at a time while a small network learns from so many steps in 1,024 lanes."""
    with Live() as live:
        stream = envs.make("CartPole-v1", 1024)
        config = PPOConfig(num_envs=1024, num_steps=steps, num_epochs=1, num_minibatches=32)
        agent = PPO(stream, config, NetworkSpec(hidden=(1,)), [], [0])
        rollout = agent.collect(stream)
        live.most = 0
        agent.learn(rollout)
    return live.most


def test_a_step_of_a_rollout_takes_what_the_help_says():
    slope = (most_of_ppo(32) - most_of_ppo(16)) / (1024 * 16)
    assert slope - OBSERVATION == pytest.approx(PPO.step_bytes, abs=1)
    assert f"{PPO.step_bytes} bytes" in inspect.getsource(PPOConfig)


def test_a_transition_takes_what_the_help_says():
    def size(rows):
        buffer = ReplayBuffer(torch.zeros(8, 4), 2, rows, 1, 0.99)
        tensors = [value for value in vars(buffer).values() if isinstance(value, torch.Tensor)]
        storages = {each.data_ptr(): each for each in (t.untyped_storage() for t in tensors)}
        return sum(storage.nbytes() for storage in storages.values())

    assert (size(20) - size(10)) / (8 * 10) - OBSERVATION == DQN.step_bytes
    assert f"{DQN.step_bytes} bytes" in inspect.getsource(DQNConfig)
