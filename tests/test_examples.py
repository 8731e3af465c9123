"""Examples: each script runs at small size and says what it promises, the notebook's cells run."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import neoteny

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = {
    "single_file_ppo": "--steps 4096",
    "sb3_callbacks": "--steps 512",
    "own_intervention": "--steps 2048 --out out",
    "own_environment": "--steps 16384 --out out",
    "second_day": "--steps 1536 --seeds 1 --out out",
}


@pytest.fixture
def printed(monkeypatch, tmp_path, capsys, undrawn):
    """A function that runs an example in a folder of its own and returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(script):
        monkeypatch.setattr(sys, "argv", [script, *SMALL[script].split()])
        monkeypatch.delitem(sys.modules, script, raising=False)
        importlib.import_module(script).main()
        return capsys.readouterr().out

    return run


def test_every_script_has_a_test_a_docstring_and_its_command():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SMALL)
    for path in EXAMPLES.glob("*.py"):
        assert (
            f"\n\npython {'' if path.stem == 'second_day' else 'examples/'}{path.name}"
            in (path.read_text().split('"""')[1])
        )


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("single_file_ppo", "feature rank"),
        pytest.param("sb3_callbacks", "dormant", marks=pytest.mark.slow),
    ],
)
def test_scripts_print_diagnostics(script, said, printed):
    assert said in printed(script)


@pytest.mark.slow
def test_an_own_intervention_keeps_the_norms_of_the_initialisation(printed):
    rows = [line.split() for line in printed("own_intervention").splitlines()]
    norms = {words[0]: float(words[2]) for words in rows if words and words[0].startswith("ppo-")}
    assert norms["ppo-keep_norm"] == pytest.approx(2**0.5 * 8, rel=1e-5)  # orthogonal, gain √2
    assert norms["ppo-none"] > 1.0005 * norms["ppo-keep_norm"]
    assert len(norms) == 3


@pytest.mark.slow
def test_an_own_environment_takes_the_same_steps_on_host_and_device(printed):
    lines = printed("own_environment").splitlines()
    assert float(lines[0].removeprefix("largest difference: ")) < 1e-5
    assert [line.split(",")[0] for line in lines[1:3]] == ["host", "device"]
    assert [line.split()[0] for line in lines[5:]] == ["0", "1", "2", "3"]  # visits


@pytest.mark.slow
def test_the_second_day_compares_and_draws_what_it_brings(printed):
    out = printed("second_day")
    assert Path("out/second_day.png").stat().st_size > 10_000
    assert "figure: out/second_day.png" in out
    frame = neoteny.results("out")
    assert set(frame["arm"]) == {"ppo-none", "ppo-shrink"}
    assert frame["task"].nunique() == 3
    kurtosis = frame[frame["name"] == "plasticity/policy/layer0/weight_kurtosis"]["value"]
    assert kurtosis.between(1.5, 4).all()
    acted = frame[frame["name"] == "interventions/shrink/activity"].groupby("seed")["value"].max()
    assert (acted == 3 * 4 * 4).all()  # iterations, epochs, minibatches


@pytest.mark.slow
def test_the_cells_of_the_notebook_read_a_comparison(monkeypatch, tmp_path, undrawn):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    notebook = json.loads((EXAMPLES / "read_comparison.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    found = {}
    for cell in cells:
        source = "".join(cell["source"]).replace("32_768", "2_048")
        exec(compile(source, "notebook", "exec"), found)
    arms = ["ppo-adamo-half_life=8192", "ppo-fresh", "ppo-none"]
    assert sorted(found["iqm"]) == sorted(found["summary"]["arm"]) == arms
    assert found["returns"].shape == (4, 5)
    assert found["actions"].shape == (3,)
    assert len(found["axes"][0].lines) == 3 * (4 + 1) + 3  # arms with seeds and mean; switches
    scores = found["scores"]["ppo-none"]
    visits = pd.read_csv("results/runs/read_comparison/visits.csv").query("arm == 'ppo-none'")
    assert np.nanmean(scores) == pytest.approx(visits["value"].mean(), rel=0.05)
