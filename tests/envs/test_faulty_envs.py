"""Host environments that break the interface, fail, hang or die: named, and left nowhere."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from neoteny.core.errors import InputError, RunError
from neoteny.envs import make

ZEROS = torch.zeros(2, dtype=torch.int64)
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
MESSAGES = {
    "none": "step returned None, expected (observation, reward, terminated, truncated, info)",
    "four": "step returned (array([0., 0.], dtype=float32), 1.0, False, {}), expected (obs",
    "no observation": "step returned (None, 1.0, False, False, {}), expected (observation",
    "no reward": "step returned reward None, expected one number",
    "rewards": "step returned reward array([1., 1.]), expected one number",
    "no end": "step returned terminated None, expected one number",
    "shape": " of shape (3,), expected Box(-1.0, 9.0, (2,), float32)",
    "ragged": "returned the observation [[1], [1, 2]] of shape (0,), expected Box",
}


class Faulty(gymnasium.Env):
    """Does in its third step what its name says."""

    observation_space = gymnasium.spaces.Box(-1, 9, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, fault):
        self.fault, self.steps = fault, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return GOOD, {}

    def step(self, action):
        self.steps += 1
        return FAULTS[self.fault]() if self.steps == 3 else (GOOD, 1.0, False, False, {})


@pytest.fixture(autouse=True)
def faulty():
    gymnasium.register("Faulty-v0", Faulty, disable_env_checker=True)
    yield
    del gymnasium.registry["Faulty-v0"]


def third_step(env):
    env.reset()
    for _ in range(2):
        env.step(ZEROS)
    return env.step(ZEROS)


def processes(env):
    return getattr(env._envs, "processes", [])


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("fault", MESSAGES)
def test_what_breaks_the_interface_is_one_line_with_the_id(fault, vectorization):
    env = make("Faulty-v0", 2, vectorization=vectorization, fault=fault)
    with pytest.raises(InputError) as found:
        third_step(env)
    message = str(found.value)
    assert "Faulty-v0" in message
    assert MESSAGES[fault] in message
    assert "\n" not in message
    assert not any(process.is_alive() for process in processes(env))
    env.close()


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(("fault", "message"), [
    ("nan", "returned the observation nan in lane 0 of seed 5: mend the environment"),
    ("inf at the end", "returned the observation inf in lane 0 of seed 5: mend the environment"),
    ("nan reward", "returned the reward nan in lane 0 of seed 5: mend the environment"),
    ("vast reward", "returned the reward -inf in lane 0 of seed 5: mend the environment"),
])  # fmt: skip
def test_what_is_not_finite_ends_the_run_and_is_named(fault, message, vectorization):
    env = make("Faulty-v0", 2, seed=5, vectorization=vectorization, fault=fault)
    with pytest.raises(RunError, match=f"Faulty-v0 {message}"):
        third_step(env)
    env.close()


def test_the_lane_that_is_not_finite_is_named():
    env = make("Faulty-v0", 2, members=2, seed=5, fault="list")
    env._envs.envs[3].unwrapped.fault = "nan reward"
    env.reset()
    four = torch.zeros(4, dtype=torch.int64)
    for _ in range(2):
        env.step(four)
    with pytest.raises(RunError, match="the reward nan in lane 1 of seed 6:"):
        env.step(four)


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(("fault", "error"), [
    ("none", "cannot unpack non-iterable NoneType object"),
    ("four", "not enough values to unpack"),
])  # fmt: skip
def test_a_time_limit_takes_it_apart_before_us(fault, error, vectorization):
    gymnasium.register("Limited-v0", Faulty, max_episode_steps=9, disable_env_checker=True)
    try:
        env = make("Limited-v0", 2, vectorization=vectorization, fault=fault)
        with pytest.raises(InputError, match="Limited-v0: step returned something else") as found:
            third_step(env)
        env.close()
    finally:
        del gymnasium.registry["Limited-v0"]
    assert error in str(found.value)


def test_gymnasiums_checker_takes_the_first_step_apart():
    gymnasium.register("Checked-v0", Faulty)
    try:
        env = make("Checked-v0", 1, fault="none")
        env.reset()
        env._envs.envs[0].unwrapped.steps = 2
        with pytest.raises(InputError, match="Checked-v0: step returned"):
            env.step(ZEROS[:1])
    finally:
        del gymnasium.registry["Checked-v0"]


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(("fault", "obs", "paid"), [("column", [0, 0], 1.5), ("list", [0, 1], 2)])
def test_what_is_safe_to_cast_is_cast(fault, obs, paid, vectorization):
    env = make("Faulty-v0", 2, vectorization=vectorization, fault=fault)
    found, reward, terminated, truncated, info = third_step(env)
    assert found.tolist() == info["final_obs"].tolist() == [obs] * 2
    assert reward.tolist() == [paid] * 2
    assert found.dtype == reward.dtype == torch.float32
    assert terminated.tolist() == truncated.tolist() == [False, False]
    env.close()


@pytest.mark.parametrize(("fault", "kind", "text"), [
    ("bug", ValueError, "user bug"), ("unpicklable", Unpicklable, "(1, 2)"),
    ("exit", RuntimeError, "Faulty-v0 ended the program in step"),
])  # fmt: skip
def test_an_error_keeps_its_traceback_and_gains_the_id(fault, kind, text):
    env = make("Faulty-v0", 2, fault=fault)
    with pytest.raises(kind) as found:
        third_step(env)
    assert text in str(found.value)
    notes = "".join(getattr(found.value, "__notes__", [str(found.value)]))
    assert "in step" in notes
    assert "Faulty-v0" in notes
    if fault != "exit":
        assert found.traceback[-1].name == FAULTS[fault].__name__

    workers = make("Faulty-v0", 2, vectorization="async", fault=fault)
    with pytest.raises(RuntimeError) as found:
        third_step(workers)
    message = str(found.value)
    error = "SystemExit" if fault == "exit" else kind.__name__
    assert message.startswith(f"Faulty-v0 raised {error} in step, in a process of its own")
    assert "test_faulty_envs.py" in message
    assert error in message.splitlines()[-1]
    assert not any(process.is_alive() for process in processes(workers))
    workers.close()


def test_a_process_that_ends_and_one_that_hangs_are_named():
    env = make("Faulty-v0", 2, vectorization="async", fault="die")
    with pytest.raises(RuntimeError, match=r"Faulty-v0: the process of lanes 0, 1 ended.*\[7, 7\]"):
        third_step(env)
    env.close()
    env = make("Faulty-v0", 2, vectorization="async", env_timeout=0.5, fault="hang")
    begin = time.monotonic()
    with pytest.raises(TimeoutError, match=r"Faulty-v0: step took longer.* 0.5 sec.*lanes 0, 1"):
        third_step(env)
    assert 0.5 <= time.monotonic() - begin < 8
    assert not any(process.is_alive() for process in processes(env))
    env.close()


@pytest.mark.parametrize(("options", "message"), [
    ({"env_timeout": 3}, "in this process cannot be interrupted: add vectorization=async"),
    ({"env_timeout": 0, "vectorization": "async"}, "env_timeout is 0"),
    ({"env_timeout": float("nan"), "vectorization": "async"}, "env_timeout is nan"),
])  # fmt: skip
def test_times_that_cannot_be_kept_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make("Faulty-v0", 1, fault="list", **options)


def test_workers_leave_signals_to_their_owner_and_end_with_it():
    env = make("Faulty-v0", 2, vectorization="async", fault="list")
    env.reset()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        for process in processes(env):
            os.kill(process.pid, getattr(signal, name))
    third_step(env)
    dropped = processes(env)
    assert all(process.is_alive() for process in dropped)
    del env
    gc.collect()
    assert not any(process.is_alive() for process in dropped)


OWNER = """
import sys
import tests_faulty as faulty
import gymnasium, torch
from neoteny.envs import make
gymnasium.register("Faulty-v0", faulty.Faulty, disable_env_checker=True)
env = make("Faulty-v0", 3, vectorization="async", fault=sys.argv[1])
env.reset()
print(*[process.pid for process in env._envs.processes], flush=True)
for _ in range(3):
    env.step(torch.zeros(3, dtype=torch.int64))
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc")
def test_no_worker_outlives_an_owner_that_is_killed(tmp_path):
    (tmp_path / "tests_faulty.py").write_text(Path(__file__).read_text())
    command = [sys.executable, "-c", OWNER, "hang"]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as owner:
        workers = [int(pid) for pid in owner.stdout.readline().split()]
        time.sleep(0.5)  # by then all hang in their third step
        assert len(workers) == 3
        assert all(map(alive, workers))
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 8
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, workers))


class Broken(Faulty):
    def __init__(self, fault=None, size=3):
        raise TypeError("a bug of the environment's own")


def test_options_that_are_not_taken_are_one_line_and_bugs_are_not():
    with pytest.raises(InputError, match=r"Faulty-v0 with options.*'colour'"):
        make("Faulty-v0", 1, fault="list", colour=3)
    with pytest.raises(InputError, match=r"Faulty-v0 cannot be made.*'fault'"):
        make("Faulty-v0", 1)
    gymnasium.register("Broken-v0", Broken)
    try:
        with pytest.raises(TypeError, match="own") as found:
            make("Broken-v0", 1, size=4)
    finally:
        del gymnasium.registry["Broken-v0"]
    assert not isinstance(found.value, InputError)
    assert found.value.__notes__ == ["raised by the environment Broken-v0 when it was made"]


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
