"""Host environments in processes of their own: what ends or hangs is named and left nowhere."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import pytest
from faulty_envs import Faulty, alive, third_step

from neoteny.core.errors import InputError
from neoteny.envs import make


@pytest.fixture(autouse=True)
def faulty():
    gymnasium.register("Faulty-v0", Faulty, disable_env_checker=True)
    yield
    del gymnasium.registry["Faulty-v0"]


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
    assert not alive()
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
        for process in alive():
            os.kill(process.pid, getattr(signal, name))
    third_step(env)
    assert len(alive()) == 2
    del env
    gc.collect()
    assert not alive()


OWNER = """
import sys
import gymnasium, torch
from faulty_envs import Faulty, alive
from neoteny.envs import make
gymnasium.register("Faulty-v0", Faulty, disable_env_checker=True)
env = make("Faulty-v0", 3, vectorization="async", fault=sys.argv[1])
env.reset()
print(*[process.pid for process in alive()], flush=True)
for _ in range(3):
    env.step(torch.zeros(3, dtype=torch.int64))
"""


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc")
def test_no_worker_outlives_an_owner_that_is_killed():
    command = [sys.executable, "-c", OWNER, "hang"]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as owner:
        workers = [int(pid) for pid in owner.stdout.readline().split()]
        time.sleep(0.5)  # by then all hang in their third step
        assert len(workers) == 3
        assert all(map(runs, workers))
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 8
    while any(map(runs, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(runs, workers))
