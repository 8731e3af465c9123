"""Everything that a GPU has to show, in one sitting of seven and a half minutes.

python benchmarks/gpu.py --out results/gpu
python benchmarks/gpu.py --quick --device cpu

Each part runs in a process of its own under a time limit of its own, see `_sitting.py`; the last
are left out where the time is over. PPO trains the preset `paper` on padded Breakout. rejax is
measured beside it where JAX is installed. A rate counts the steps of all members; a window waits
for the device at both ends.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import tyro
from _measure import local, synchronize
from _peer import Peer
from _publish import Report, publish
from _sitting import Part, Row, read_rows, sit
from _work import DQNTraining, Training, stepping

from neoteny import envs
from neoteny.agents.graphs import CudaGraph, Recordings

ROOT = Path(__file__).resolve().parent.parent
GRAPHS = "cuda-graphs"


@dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    device: str = "cuda"
    """Device of environments and networks."""
    parts: tuple[str, ...] = ()
    """Parts to run, in their order; empty, all."""
    out: Path = Path("build/gpu")
    """Folder of rows.jsonl, gpu.csv and gpu.md; rows of an earlier sitting are dropped."""
    quick: bool = False
    """Try everything out on tiny sizes."""
    seconds: float = 4.0
    """Least time of a timed window."""
    minutes: float = 7.5
    """Longest time of the whole sitting; quick ones may take four times as long."""

    @property
    def cuda(self) -> bool:
        """True where CUDA graphs can be recorded."""
        return torch.device(self.device).type == "cuda"


def size(config: Config, usual: int, tiny: int) -> int:
    """A size of the work."""
    return tiny if config.quick else usual


def rate(config: Config, work: Callable[[], float], warm_up: int = 3) -> float:
    """Units of work a second in one window, after calls that are not counted."""
    for _ in range(warm_up):
        work()
    window = local(work, config.device, 0.0 if config.quick else config.seconds)()
    return window.amount / window.seconds


def tests(config: Config) -> Iterator[Row]:
    """Tests marked `gpu`: equal to the CPU, graphs equal to eager, resume, no waits."""
    command = [sys.executable, "-m", "pytest", "-v", "-m", "gpu", "-p", "no:cacheprovider"]
    command += [f"tests/{n}" for n in ("envs", "agents", "plasticity", "wrappers", "experiments")]
    if config.quick:
        command.append("--collect-only")
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        for line in process.stdout or ():
            if " FAILED" in line or " ERROR" in line:
                yield "a test that fails", math.nan, line.strip()
            last = line.strip("= \n") or last
    yield "tests marked gpu, exit status", float(process.returncode), last


def waits(config: Config) -> Iterator[Row]:
    """Iterations that raise at any wait of the host for the device."""
    for name, work in (("PPO", training(config)), ("DQN", dqn_training(config))):
        iterate = work.iteration()
        for _ in range(2):
            iterate()
        synchronize(config.device)
        if config.cuda:
            torch.cuda.set_sync_debug_mode("error")
        try:
            iterate()
        finally:
            if config.cuda:
                torch.cuda.set_sync_debug_mode("default")
        yield f"{name}: an iteration without a wait", float(config.cuda), "1: held, 0: not checked"


def training(config: Config, **options: Any) -> Training:
    """PPO's work."""
    lanes, steps = size(config, 2_048, 8), size(config, 128, 4)
    width, depth = size(config, 64, 8), size(config, 4, 1)
    return Training(width, depth, lanes, steps, device=config.device, **options)


def dqn_training(config: Config, members: int = 1, graphs: bool = False) -> DQNTraining:
    """DQN's work."""
    hidden = (size(config, 64, 8),) * 2
    # Beyond its first steps, which fill the replay buffer without updates
    return DQNTraining(hidden, 128, size(config, 64, 34), 128, members, config.device, graphs)


def graphs(config: Config) -> Iterator[Row]:
    """Graphs against eager, on one device: the largest difference of a weight, and the rates."""
    ways = ["fp32", GRAPHS] if config.cuda else ["fp32"]
    weights = []
    for path in ways:
        work = training(config, path=path)
        work = replace(work, steps=size(config, 16, 4))
        env, agent = work.build()
        for _ in range(3):
            agent.learn(agent.collect(env))
        weights.append(torch.cat([p.detach().flatten() for p in agent.network.parameters()]).cpu())
    difference = float((weights[0] - weights[-1]).abs().max())
    yield "largest difference of graphs from eager", difference, "after three iterations"


def stepped(config: Config) -> Iterator[Row]:
    """Environments alone."""
    for lanes in (8,) if config.quick else (2_048, 16_384, 65_536, 262_144):
        for game in ("MinAtar-Breakout-v1", "MinAtar-Asterix-v1", "MiniGrid-Empty-8x8-v0"):
            work = stepping(game, lanes, size(config, 64, 2), config.device)
            yield f"{game}, {lanes:,} lanes", rate(config, work), "env steps/s"


def ppo(config: Config) -> Iterator[Row]:
    """PPO with 1, 8 and 64 members: eager, graphs, bfloat16, TF32."""
    ways = ["fp32", "tf32", "bf16", *((GRAPHS, f"{GRAPHS}-bf16") if config.cuda else ())]
    for members in (1,) if config.quick else (1, 8, 64):
        for way in ways:
            torch.set_float32_matmul_precision("high" if way == "tf32" else "highest")
            path = "fp32" if way == "tf32" else way
            work = training(config, members=members, path=path).iteration()
            yield f"PPO, {members} members, {way}", rate(config, work, 1), "env steps/s"
            del work
            torch.cuda.empty_cache()  # which does nothing elsewhere


def dqn(config: Config) -> Iterator[Row]:
    """DQN with 1 and 8 members, operation by operation and by graphs."""
    ways = {"eager": False} | ({GRAPHS: True} if config.cuda else {})
    for members in (1, 8):
        for way, graphs in ways.items():
            work = dqn_training(config, members, graphs).iteration()
            yield f"DQN, {members} members, {way}", rate(config, work, 4), "env steps/s"


def adamo(config: Config) -> Iterator[Row]:
    """AdamO with GroupSort against Adam with ReLU, in turns."""
    for members in (1, 8):
        arms = [
            training(config, members=members).iteration(),
            training(
                config, members=members, optimizer="adamo", activation="groupsort"
            ).iteration(),
        ]
        costs = [[1 / rate(config, arm, 1) for arm in arms] for _ in range(size(config, 3, 1))]
        ratio = sorted(theirs / ours for ours, theirs in costs)[len(costs) // 2]
        yield f"AdamO with GroupSort, {members} members", ratio, "times the time of Adam with ReLU"


def launches(config: Config) -> Iterator[Row]:
    """Kernels of one iteration, and the time that they take."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if config.cuda:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    for path in ("fp32", GRAPHS) if config.cuda else ("fp32",):
        iterate = training(config, path=path).iteration()
        for _ in range(3):
            iterate()
        synchronize(config.device)
        with torch.profiler.profile(activities=activities) as profile:
            started = time.perf_counter()
            iterate()
            synchronize(config.device)
            seconds = time.perf_counter() - started
        kernels = [
            event
            for event in profile.events()
            if event.device_type == torch.autograd.DeviceType.CUDA or not config.cuda
        ]
        calls = sum(
            event.name.startswith(("cudaLaunch", "cudaGraphLaunch")) for event in profile.events()
        )
        busy = sum(event.time_range.elapsed_us() for event in kernels) / 1e6
        yield f"PPO, {path}: launches by the host", float(calls), "an iteration"
        yield f"PPO, {path}: kernels", float(len(kernels)), "an iteration"
        yield (
            f"PPO, {path}: share of time in kernels",
            busy / seconds if config.cuda else math.nan,
            "",
        )


def rejax(config: Config) -> Iterator[Row]:
    """The peer rejax with the same network and number of updates, where JAX is installed."""
    if find_spec("rejax") is None:
        yield "rejax", math.nan, "not installed"
        return
    with Peer(Path(sys.executable)) as peer:
        seconds = 0.0 if config.quick else config.seconds
        window = peer.window("rejax_ppo", seconds, **training(config).rejax)
        first = window()
        found = window()
    yield "rejax, 1 member", found.amount / found.seconds, "env steps/s"
    yield "rejax, 1 member, first call", first.seconds, "s"


def compiled(config: Config) -> Iterator[Row]:
    """A step of environments by torch.compile beside the plain one, both in CUDA graphs."""
    for lanes in (8,) if config.quick else (2_048, 65_536):
        for way in ("eager", "compiled"):
            env = envs.make("MinAtar-Breakout-v1", lanes, device=config.device)
            if way == "compiled":
                vars(env).update(_advance=inductor(config, env._advance))
                vars(env).update(_observe=inductor(config, env._observe))
            env.reset()
            actions = torch.zeros(lanes, dtype=torch.int64, device=env.device)
            graph = partial(CudaGraph, env.device) if config.cuda else None
            work = partial(_steps, env, Recordings(graph, agent=env), actions)
            yield f"Breakout, {lanes:,} lanes, {way}", rate(config, work), "env steps/s"


def _steps(env: envs.TensorEnv, recordings: Recordings, actions: torch.Tensor) -> int:
    """Steps of all lanes, replayed where one has been recorded."""
    key = recordings.steps_key(env, 8, ())
    for _ in range(8):
        env.skip(recordings.run("a step", key, partial(env.step, actions)))
    return 8 * len(actions)


def updates(config: Config) -> Iterator[Row]:
    """PPO with an update by torch.compile beside the plain one, all in CUDA graphs."""
    ways = {"eager": "fp32", "compiled, --no-fast": "plain"}  # a CPU's fast path takes no tracing
    if config.cuda:
        ways = {"eager": GRAPHS, "compiled": GRAPHS, "compiled, --no-fast": f"{GRAPHS}-plain"}
    for members, (way, path) in product((1,) if config.quick else (1, 8), ways.items()):
        work = training(config, members=members, path=path)
        env, agent = work.build()
        if way != "eager":
            vars(agent).update(_update=inductor(config, agent._update))
        found = rate(config, partial(_iterate, work, env, agent))
        yield f"PPO, {members} members, update {way}", found, "env steps/s"


def _iterate(work: Training, env: Any, agent: Any) -> int:
    agent.iterate(env)
    return work.steps_per_iteration


def inductor(config: Config, step: Callable[..., Any]) -> Callable[..., Any]:
    """A function by torch.compile; traced alone where sizes are tiny."""
    backend = "eager" if config.quick else "inductor"
    compiled: Callable[..., Any] = torch.compile(step, backend=backend)
    return compiled


def protocol(config: Config) -> Iterator[Row]:
    """The paper's continual protocol by the command line, recording included; its whole cost."""
    folder = Path(tempfile.mkdtemp()) / "protocol"
    steps = size(config, 6_000_000, 2_000)
    command = [sys.executable, "train.py", "run", "--preset", "paper", "--device", config.device]
    command += ["--intervention", "adamo", "--activation", "groupsort", "--no-bias"]
    command += ["--seeds", str(size(config, 8, 1)), "--steps", str(steps), "--out", str(folder)]
    command += ["--task-steps", str(steps // 2)]
    if config.quick:
        command += ["--num-envs", "8", "--num-steps", "4", "--num-minibatches", "4"]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    rows = pd.concat(
        pd.read_csv(path, usecols=["step", "charts/SPS"])
        for path in folder.glob("seed*/metrics.csv")
    )
    median = float(rows["charts/SPS"].median())
    yield "continual MinAtar, 8 members, whole run", median, "env steps/s"
    whole = 20 * 4 * 15e6 * 16
    yield "projected: 16 seeds of 20 cycles of 4 games", whole / median / 3600, "h"


PARTS: dict[str, tuple[float, Callable[[Config], Iterator[Row]]]] = {
    "waits": (40, waits),
    "graphs": (40, graphs),
    "ppo": (110, ppo),
    "stepped": (60, stepped),
    "rejax": (60, rejax),
    "launches": (30, launches),
    "tests": (90, tests),
    "adamo": (40, adamo),
    "dqn": (30, dqn),
    "protocol": (60, protocol),
    "updates": (90, updates),
    "compiled": (80, compiled),
}
"""Every part: its time limit in seconds, and what it measures. The first are needed most."""


def main(config: Config) -> None:
    """Measure every part, print the table and write it.

    Raises:
        ValueError: If there is no such part.
    """
    unknown = sorted(set(config.parts) - set(PARTS))
    if unknown:
        raise ValueError(f"parts has {unknown[0]!r}: give some of {', '.join(PARTS)}")
    config.out.mkdir(parents=True, exist_ok=True)
    rows, patience = config.out / "rows.jsonl", size(config, 1, 4)
    parts = {
        name: Part(patience * PARTS[name][0], partial(PARTS[name][1], config))
        for name in config.parts or PARTS
    }
    sit(parts, rows, patience * 60 * config.minutes)
    publish(Report("gpu", "One sitting on a GPU", read_rows(rows), config))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
