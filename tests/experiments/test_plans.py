"""Plans of results, each read as the command in its comments reads it."""

import re
import shlex
from pathlib import Path

import pytest

from neoteny.experiments import cli
from neoteny.experiments.main import main
from neoteny.experiments.options.tuned import FIRST_EVALUATION_SEED, LAST_TUNING_SEED
from neoteny.experiments.tuning import command

ROOT = Path(__file__).parents[2]
PLANS = sorted(ROOT.glob("results/plans/*.yaml"))


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stem)
def test_a_plan_is_run_by_its_command_on_the_seeds_of_its_purpose(plan, monkeypatch):
    monkeypatch.chdir(ROOT)
    read = []
    for module, name in ((cli, "compare"), (command, "tune")):
        monkeypatch.setattr(module, name, lambda config, _: read.append(config))
    commands = re.findall(r"^#   neoteny (.+)$", plan.read_text(), re.MULTILINE)
    assert commands
    for line in commands:
        words = shlex.split(line)
        assert words[1:3] == ["--config", f"results/plans/{plan.name}"]
        assert main(words) == 0
        tunes = words[0] == "tune"
        last = read[-1].seed_list[-1]
        assert last <= LAST_TUNING_SEED if tunes else read[-1].first_seed >= FIRST_EVALUATION_SEED
        assert len(read[-1].arms()) > 1
    assert len(read) == len(commands)


def test_every_plan_is_listed():
    listed = re.findall(r"\]\(([\w-]+)\.yaml\)", (ROOT / "results/plans/README.md").read_text())
    assert sorted(listed) == sorted(plan.stem for plan in PLANS)
