"""An environment that breaks the interface, fails, hangs or dies, each by name."""

import multiprocessing
import os
import sys
import time

import gymnasium
import numpy as np
import torch

GOOD = np.zeros(2, np.float32)


BAD = np.array([0, np.nan], np.float32)


class Unpicklable(Exception):
    def __init__(self, left, right):
        super().__init__(left, right)
        self.lock = lambda: None


def own_bug():
    raise ValueError("user bug")


def unpicklable():
    raise Unpicklable(1, 2)


def hang():
    while True:
        time.sleep(0.1)


FAULTS = {
    "bug": own_bug,
    "unpicklable": unpicklable,
    "exit": lambda: sys.exit(0),
    "die": lambda: os._exit(7),
    "hang": hang,
    "none": lambda: None,
    "four": lambda: (GOOD, 1.0, False, {}),
    "no observation": lambda: (None, 1.0, False, False, {}),
    "no reward": lambda: (GOOD, None, False, False, {}),
    "rewards": lambda: (GOOD, np.ones(2), False, False, {}),
    "no end": lambda: (GOOD, 1.0, None, False, {}),
    "shape": lambda: (np.zeros(3, np.float32), 1.0, False, False, {}),
    "ragged": lambda: ([[1], [1, 2]], 1.0, False, False, {}),
    "nan": lambda: (BAD, 1.0, False, False, {}),
    "inf at the end": lambda: (GOOD + np.inf, 1.0, True, False, {}),
    "nan reward": lambda: (GOOD, np.nan, False, False, {}),
    "vast reward": lambda: (GOOD, -1e39, False, False, {}),
    "column": lambda: (GOOD[:, None], np.array([[1.5]]), np.array([False]), np.False_, None),
    "list": lambda: ([0, 1], 2, 0, False, {"unpicklable": lambda: None}),
}


class Faulty(gymnasium.Env):
    """Does what its name says in one of its steps, the third unless told otherwise."""

    observation_space = gymnasium.spaces.Box(-1, 9, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, fault):
        self.fault, self.steps, self.due = fault, 0, 3

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return GOOD, {}

    def step(self, action):
        self.steps += 1
        return FAULTS[self.fault]() if self.steps == self.due else (GOOD, 1.0, False, False, {})


def third_step(env):
    """The outcome of the step with the fault, of two lanes."""
    zeros = torch.zeros(2, dtype=torch.int64)
    env.reset()
    for _ in range(2):
        env.step(zeros)
    return env.step(zeros)


def alive():
    """Processes of this one that live."""
    return multiprocessing.active_children()
