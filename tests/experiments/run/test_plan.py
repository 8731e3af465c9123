"""The plan of a comparison: its units, and how far each is."""

import os

import pytest

from neoteny.experiments.main import main
from neoteny.experiments.options.config import CompareConfig
from neoteny.experiments.options_by_name import configure
from neoteny.experiments.run.plan import last_step, plan_units

SMALL = {
    "env": "CartPole-v1",
    "interventions": ("none", "adamo"),
    "num_envs": 8,
    "num_steps": 8,
    "num_epochs": 1,
    "num_minibatches": 2,
    "hidden": (8,),
    "steps": 200,
    "task_steps": 128,
}


def units(out, **options):
    return plan_units(configure(CompareConfig, {**SMALL, "out": out, **options}))


def test_units_are_arms_in_blocks_of_seeds_with_folders_of_their_own(tmp_path):
    found = units(tmp_path, seeds=5, first_seed=10, block=2)
    assert [unit.name for unit in found] == [
        f"ppo-{arm}, {seeds}"
        for arm in ("none", "adamo")
        for seeds in ("seeds 10 to 11", "seeds 12 to 13", "seed 14")
    ]
    assert [unit.run.folder.name for unit in found[:3]] == [
        "ppo-none",
        "ppo-none-seed12to13",
        "ppo-none-seed14",
    ]
    assert {unit.total for unit in found} == {256}
    assert len(units(tmp_path, seeds=5)) == 2


def test_a_unit_is_done_when_all_its_steps_are_recorded_and_saved(tmp_path):
    [unit] = units(tmp_path, interventions=("none",), seeds=2)
    assert (unit.recorded, unit.done, unit.goes_on) == (0, False, False)
    arguments = "run --env CartPole-v1 --num-envs 8 --num-steps 8 --steps 200 --hidden 8 --seeds 2"
    assert main([*arguments.split(), "--out", str(unit.run.folder)]) == 0
    assert (unit.recorded, unit.done, unit.goes_on) == (256, True, True)
    [longer] = units(tmp_path, interventions=("none",), seeds=2, steps=257)
    assert (longer.recorded, longer.done) == (256, False)
    [again] = units(tmp_path, interventions=("none",), seeds=2, overwrite=True)
    assert not again.done
    table = unit.run.folder / "seed_1" / "metrics.csv"
    saved = (unit.run.folder / "checkpoint.pt").stat().st_mtime_ns
    os.utime(table, ns=(saved + 1, saved + 1))
    assert not unit.done
    os.utime(table, ns=(saved, saved))
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:-1]))
    os.utime(table, ns=(saved, saved))
    assert not unit.done


def test_a_damaged_checkpoint_matters_only_when_more_steps_are_asked_for(tmp_path, undrawn, capsys):
    arguments = "compare --env CartPole-v1 --num-envs 8 --num-steps 8 --num-epochs 1 --hidden 8 "
    arguments += f"--num-minibatches 2 --threads 1 --interventions none --out {tmp_path} --steps"
    assert main([*arguments.split(), "128"]) == 0
    [checkpoint] = tmp_path.glob("*/checkpoint.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    table = checkpoint.parent / "seed_0" / "metrics.csv"
    rows = table.read_bytes()
    assert main([*arguments.split(), "128"]) == 0  # its table is whole, and so is the report
    capsys.readouterr()
    assert main([*arguments.split(), "192"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: checkpoint {checkpoint} is cut short")
    assert said.count("\n") == 1
    assert table.read_bytes() == rows


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("step,a\n", 0),
        ("step,a\n64,1\n128,2\n", 128),
        ("step,a\n64,1\n128,", 64),
        ("other,a\n64,1\n", 0),
        ("step,a\n" + "".join(f"{n},1\n" for n in range(1, 40_000)), 39_999),
    ],
)
def test_the_last_step_is_that_of_the_last_whole_row(text, expected, tmp_path):
    table = tmp_path / "metrics.csv"
    assert last_step(table) == 0
    table.write_text(text)
    assert last_step(table) == expected
