"""Short runs, which other tests disturb, and how a disturbed one is brought to its end."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reliability.children import NOTHING, Command, Fault, Finished
from reliability.records import tables, weights

SHARED = "--seeds 2 --first-seed 26 --hidden 16 16 --diagnose-every 2 --checkpoint-minutes 0.00001"
PPO = "run --env CartPole-v1 --num-envs 8 --num-steps 16 --num-epochs 1 --num-minibatches 2"
DQN = "run --agent dqn --env CartPole-v1 --num-envs 8 --num-steps 16 --batch-size 16"
RUNS = {
    "ppo": f"{PPO} {SHARED} --task-steps 256 --steps 640 --intervention adamo l2_init",
    "dqn": f"{DQN} {SHARED} --task-steps 256 --steps 640 --learning-starts 64 --replay-size 256 "
    "--target-frequency 128",
    "classifier": "run --preset supervised --env digits-random-labels --batch-size 16 "
    f"--updates-per-iteration 8 {SHARED} --task-steps 256 --steps 640",
}
"""Five iterations of two members each, two tasks and a half, a checkpoint after every iteration."""


@dataclass(frozen=True)
class Whole:
    """A run that nothing disturbed."""

    arguments: list[str]
    """Of train.py, up to `--out`, whose value is missing."""
    folder: Path
    finished: Finished
    """With the operations on files in its output."""

    def command(self, out: Path) -> list[str]:
        """The same command for another folder."""
        return [*self.arguments, str(out)]

    def assert_same(self, out: Path) -> None:
        """Another run has come to the same numbers in every table and every weight."""
        assert tables(out) == tables(self.folder)
        assert weights(out) == weights(self.folder)


Make = Callable[[str], Whole]


def run(
    arguments: list[str],
    folder: Path,
    fault: Fault = NOTHING,
    *,
    count: bool = False,
    said: Path | None = None,
) -> Finished:
    """Run a command that writes to a folder; what it prints goes to `said`, or beside it."""
    said = said or folder.with_suffix(".txt")
    return Command(arguments, said, folder, fault, count=count).wait()


def go_on(whole: Whole, folder: Path, fault: Fault = NOTHING, *, count: bool = False) -> Finished:
    """Continue from the checkpoint; before the first one, give the same command again."""
    if (folder / "checkpoint.pt").exists():
        return run(["run", "--resume", str(folder)], folder, fault, count=count)
    return run(whole.command(folder), folder, fault, count=count)


def finish(whole: Whole, folder: Path) -> None:
    """Continue to the end, which is that of the whole run."""
    finished = go_on(whole, folder)
    assert finished.code == 0, finished.said
    whole.assert_same(folder)
    assert not list(folder.rglob("*.tmp"))
