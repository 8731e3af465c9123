"""The demonstration: what `make train` runs, and what its page says of it."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

import neoteny.experiments.cli
import neoteny.experiments.main
from neoteny.experiments.statistics.answer import answer

ROOT = Path(neoteny.experiments.__file__).parents[1]


@pytest.fixture
def config(monkeypatch):
    """The comparison that the recipe of `make train` asks for."""
    recipe = re.search(r"^train:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    line = re.sub(r"\\\n|\$\(\w+\)/?", " ", recipe[1])
    words = shlex.split(line)
    assert words[:2] == ["python", "train.py"]
    asked = []
    monkeypatch.setattr(neoteny.experiments.cli, "compare", lambda found, _: asked.append(found))
    assert neoteny.experiments.main.main(words[2:]) == 0
    return asked[0]


def test_the_demonstration_is_what_its_page_says(config):
    assert config.preset == "demo"
    page = " ".join((ROOT / "results/demo/README.md").read_text().split())
    tasks = config.steps // config.task_steps
    assert config.steps == tasks * config.task_steps
    assert f"{tasks} tasks of {config.task_steps:,} steps" in page
    assert f"{config.seeds} seeds" in page
    assert f"networks of {len(config.network.hidden)} x {config.network.hidden[0]} units" in page
    assert f"learning rate {config.hyper.learning_rate}" in page
    assert f"entropy bonus {config.hyper.ent_coef}" in page
    for arm in config.arms():
        assert f"`{'+'.join(arm.intervention)}`" in page
        assert not arm.network.bias
        assert not arm.reset_optimizer


def test_tasks_are_whole_iterations_with_a_measurement_each(config):
    iteration = config.hyper.num_envs * config.hyper.num_steps
    assert config.task_steps == config.diagnose_every * iteration


@pytest.mark.parametrize(
    "table", sorted((ROOT / "results/demo").glob("*.csv")), ids=lambda p: p.stem
)
def test_the_page_quotes_the_sentence_of_its_data(table):
    page = " ".join((ROOT / "results/demo/README.md").read_text().split())
    sentence = answer(pd.read_csv(table))
    assert sentence
    assert sentence in page


def test_the_readme_quotes_the_sentence_of_its_figure():
    text = " ".join((ROOT / "README.md").read_text().split())
    assert answer(pd.read_csv(ROOT / "results/demo/visits-1000.csv")) in text
