"""The plan with estimates: what is printed, and nothing written."""

import numpy as np
import pytest

from neoteny.core.console import PlainConsole
from neoteny.experiments.engines import estimates
from neoteny.experiments.engines.estimates import Cost, beside_each_other, plan_table, print_plan
from neoteny.experiments.main import main
from neoteny.experiments.options.config import CompareConfig
from neoteny.experiments.options_by_name import configure
from neoteny.experiments.run.plan import plan_units

SMALL = "compare --env CartPole-v1 --num-envs 8 --num-steps 8 --steps 200 --task-steps 128 "
SMALL += "--hidden 8 --num-epochs 1 --num-minibatches 2 --interventions none adamo"


def test_jobs_take_the_next_unit_when_one_is_done():
    assert beside_each_other([4, 1, 1, 1, 3], 1) == 10
    assert beside_each_other([4, 1, 1, 1, 3], 2) == 6
    assert beside_each_other([], 2) == 0


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path, monkeypatch, capsys):
    costs = {"ppo-none": Cost(100.0, 300.0), "ppo-adamo": Cost(np.nan, np.nan)}
    monkeypatch.setattr(estimates, "estimate", lambda *_: costs)
    arguments = f"{SMALL} --seeds 3 --block 2 --jobs 2 --dry-run --out {tmp_path / 'new'}"
    assert main(arguments.split()) == 0
    said = capsys.readouterr().out
    words = [line.split() for line in said.splitlines()]
    assert [
        "none",
        "CartPole-v1",
        "0",
        "to",
        "1",
        "256",
        "300",
        "MiB",
        "5.1",
        "s",
        "new",
    ] in words
    assert ["none", "CartPole-v1", "2", "256", "300", "MiB", "2.6", "s", "new"] in words
    assert "4 units, 1,536 steps; 4 units to train, " in said
    assert not (tmp_path / "new").exists()


def test_what_is_done_costs_nothing(tmp_path, capsys):
    run = SMALL.replace("compare", "run").replace("--interventions none adamo", "")
    assert main([*run.split(), "--out", str(tmp_path / "ppo-none")]) == 0
    options = {"env": "CartPole-v1", "num_envs": 8, "num_steps": 8, "steps": 200}
    options |= {"task_steps": 128, "hidden": (8,), "num_epochs": 1, "num_minibatches": 2}
    config = configure(CompareConfig, {**options, "out": tmp_path})
    plan = plan_table(plan_units(config), {"ppo-adamo": Cost(64.0, 200.0)})
    assert list(plan["done"]) == [True, False]
    assert list(plan["recorded"]) == [256, 0]
    assert list(plan["seconds"]) == [0.0, 4.0]
    print_plan(plan, config, PlainConsole())
    assert "2 units, 512 steps; 1 units to train, 4 s one after" in capsys.readouterr().out


def test_probes_end_with_the_budget_and_the_dearest_stands_for_the_rest(
    tmp_path, monkeypatch, capsys
):
    clock = [0.0]
    costs = iter([Cost(200.0, 300.0), Cost(np.nan, np.nan), Cost(100.0, 250.0)])

    def probe(*_):
        clock[0] += estimates.BUDGET / 2.5
        return next(costs)

    monkeypatch.setattr(estimates, "_probe", probe)
    monkeypatch.setattr(estimates.time, "monotonic", lambda: clock[0])
    options = {"env": "CartPole-v1", "out": tmp_path / "new", "seeds": 2, "block": 1}
    options["interventions"] = ("none", "adamo", "redo", "fresh", "groupsort")
    config = configure(CompareConfig, options)
    found = estimates.estimate(plan_units(config), config, PlainConsole())
    assert list(found) == [f"ppo-{name}" for name in options["interventions"]]
    rates = [found[f"ppo-{name}"].rate for name in options["interventions"]]
    np.testing.assert_array_equal(rates, [200, np.nan, 100, 100, 100])
    assert found["ppo-fresh"] == found["ppo-groupsort"] == Cost(100.0, 300.0)
    assert "3 of 5 arms were probed in 60 s: the others are taken to be" in capsys.readouterr().out


def test_probes_that_all_fail_leave_the_costs_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(estimates, "_probe", lambda *_: Cost(np.nan, np.nan))
    monkeypatch.setattr(estimates, "BUDGET", -1.0)
    options = {"env": "CartPole-v1", "out": tmp_path / "new", "interventions": ("none", "adamo")}
    config = configure(CompareConfig, options)
    found = estimates.estimate(plan_units(config), config, PlainConsole())
    assert [np.isnan(cost.rate) for cost in found.values()] == [True, True]


@pytest.mark.slow
def test_a_probe_measures_rate_and_memory(tmp_path):
    options = {"env": "CartPole-v1", "hidden": (8,), "interventions": ("none",), "threads": 1}
    config = configure(CompareConfig, {**options, "out": tmp_path / "new"})
    [cost] = estimates.estimate(plan_units(config), config, PlainConsole()).values()
    assert 100 < cost.rate < 1e7
    assert 100 < cost.memory < 4000
    assert not (tmp_path / "new").exists()
