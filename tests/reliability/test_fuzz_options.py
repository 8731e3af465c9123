"""Broken options: refused in one line, with exit code 2, before anything is written."""

import dataclasses
import inspect
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reliability.fuzz import assert_sensible, attempt, in_time, words

from neoteny.agents import AGENTS
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.experiments.main import main
from neoteny.experiments.options.config import PRESETS, RunConfig
from neoteny.experiments.run.run_streams import make_run_stream
from neoteny.experiments.run.runner import Runner
from neoteny.plasticity.interventions import INTERVENTIONS
from neoteny.wrappers.streams import STREAMS

FIELDS = {
    name: [field.name for field in dataclasses.fields(cls) if field.init]
    for name, cls in INTERVENTIONS.items()
}
COMMON = ("max_steps", "sticky", "difficulty", "ramping", "size", "layout", "seed", "num_envs")
OPTIONS = {
    name: [key for key in inspect.signature(make).parameters if key not in ("context", "options")]
    for name, make in STREAMS.items()
}
OPTIONS |= {name: [] for name in ("MinAtar-Breakout", "CartPole-v1", "MiniGrid-Empty-5x5-v0")}
SMALL = PPOConfig(num_envs=4, num_steps=16, num_minibatches=2)
values = words | st.integers(-3, 10**12).map(str) | st.floats(allow_subnormal=False).map(str)


@st.composite
def interventions(draw: st.DrawFn) -> tuple[str, ...]:
    """One to three texts, most with known names and fields."""
    texts = []
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(list(FIELDS)))
        keys = st.sampled_from([*FIELDS[name], "strength"]) | words
        pairs = draw(st.lists(st.tuples(keys, values), min_size=1, max_size=2))
        shown = draw(st.sampled_from([name, name, name, name[:-1], name.upper(), ""]))
        texts.append(shown + ":" + ",".join(f"{key}={value}" for key, value in pairs))
    return tuple(texts)


@given(interventions() | st.lists(words, max_size=3).map(tuple), st.sampled_from(list(AGENTS)))
def test_interventions(texts: tuple[str, ...], agent: Any) -> None:
    config = attempt(lambda: RunConfig(agent=agent, intervention=texts))
    if config is None:
        return
    for intervention in config.make_interventions():
        assert_sensible(intervention.settings)
        assert_sensible(intervention)


@st.composite
def environment_options(draw: st.DrawFn) -> tuple[str, tuple[str, ...]]:
    name = draw(st.sampled_from(list(OPTIONS)))
    keys = st.sampled_from([*OPTIONS[name], *COMMON]) | words
    pairs = draw(st.lists(st.tuples(keys, values), min_size=1, max_size=2))
    return name, tuple(f"{key}={value}" for key, value in pairs)


@given(environment_options())
def test_environment_options(given: tuple[str, tuple[str, ...]]) -> None:
    name, texts = given

    def play() -> bool:
        config = RunConfig(env=name, env_option=texts, hyper=SMALL, steps=256, task_steps=64)
        stream = make_run_stream(config)
        stream.reset()
        stream.step(torch.as_tensor(stream.action_space.sample()))
        return True

    if attempt(play):
        for text in texts:
            assert text.partition("=")[2].strip().lower() not in ("nan", "inf", "-inf", "1e400")


CHOICES = st.sampled_from(
    [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(RunConfig)]
    + [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(PPOConfig)]
    + ["--no-bias", "--no-fast", "--nonsense", "--help", "run", "--interventions", "--depths"]
)
NAMES = [*PRESETS, *STREAMS, *INTERVENTIONS, "ppo", "dqn", "cuda", "cpu", "relu", "Acrobot-v1"]
arguments = st.lists(
    st.tuples(CHOICES, st.lists(values | st.sampled_from(NAMES), max_size=2)), max_size=3
).map(lambda pairs: [word for name, given in pairs for word in (name, *given)])


@pytest.fixture(scope="module")
def untrained() -> Any:
    """Skip training: `Runner.train` does nothing, the folder of the run stays empty."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runner, "train", lambda self, **_: None)
        yield


@given(
    st.sampled_from(["run", "run", "compare", "timeline", "list", "watch", "report", ""]), arguments
)
def test_command_lines(
    untrained: None, tmp_path_factory: pytest.TempPathFactory, command: str, given: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "commands"
    folder.mkdir(exist_ok=True)
    said, error = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, in_time():
        patch.chdir(folder)
        try:
            with redirect_stdout(said), redirect_stderr(error):
                code: Any = main([command, *given])
        except SystemExit as left:  # tyro's --help
            code = left.code
    line = error.getvalue().strip()
    assert code in (0, 2), (code, line)
    if code == 2:
        assert line.startswith("error: ")
        assert line.isprintable()
        assert len(line) < 1100
