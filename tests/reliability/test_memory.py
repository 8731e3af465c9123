"""Memory is steady: a million environment steps need no more than the first hundred thousand."""

import os
import time
from pathlib import Path

import pytest
from reliability.children import Command

PAGE = os.sysconf("SC_PAGE_SIZE")
STEPS = 1_000_000
COMMON = f"--steps {STEPS} --task-steps 100000 --hidden 16 16 --diagnose-every 10"
PPO = "--num-envs 64 --num-steps 128 --num-epochs 1 --num-minibatches 4"
DQN = "--num-envs 64 --num-steps 128 --train-frequency 256 --replay-size 20000"
RUNS = {
    "ppo, device": f"run --env cartpole-drift {PPO} {COMMON}",
    "dqn, device": f"run --agent dqn --env cartpole-drift {DQN} {COMMON}",
    "ppo, host": f"run --env gymnasium:CartPole-v1 {PPO} {COMMON}",
    "dqn, host": f"run --agent dqn --env gymnasium:CartPole-v1 {DQN} {COMMON}",
}
ALLOWED = 8
"""MiB that may be added after warm-up: allocators and the interpreter round up now and then."""


def rows(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_memory_is_steady(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    arguments = [*RUNS[name].split(), "--out", str(folder)]
    command = Command(arguments, tmp_path / "said", folder)
    memory: list[tuple[float, float]] = []
    statm = Path(f"/proc/{command.process.pid}/statm")
    while command.process.is_alive():
        done = rows(folder / "seed_0" / "metrics.csv") * 8192 / STEPS
        try:
            resident = int(statm.read_text().split()[1]) * PAGE / 2**20
        except (OSError, IndexError):
            break  # it has ended
        memory.append((done, resident))
        time.sleep(0.2)
    finished = command.wait()
    assert finished.code == 0, finished.said
    early = max(size for done, size in memory if 0.15 <= done <= 0.3)
    late = max(size for done, size in memory if 0.85 <= done < 1)
    with capsys.disabled():
        print(f"\n{name}: {early:.1f} MiB after warm-up, {late:.1f} MiB at the end")
    assert late - early < ALLOWED
