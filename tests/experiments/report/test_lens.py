"""The lens on runs made up after known rules: what is kept, what grows, what the switch does."""

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from neoteny.core.errors import InputError
from neoteny.experiments.report.lens import LensConfig, lens, lens_table, sentence
from neoteny.experiments.statistics.runs import read_runs
from neoteny.experiments.statistics.switches import by_branch, read_streams, switch_values


def cells(arm, seed, visit, place):
    """Adam's weights grow by 1.5 a visit, AdamO's stay; a reset brings the spread back."""
    grown = 1.5 ** (visit + (place == "last")) if arm == "none" else 1.0
    found = {"charts/episodic_return": 4.0 + (place == "last") * (2.0 if arm == "adamo" else 3.0)}
    for layer, size in (("layer0", 1.0), ("layer1", 2.0), ("layer2", 9.0), ("head", 50.0)):
        found[f"plasticity/policy/{layer}/sigma_max"] = size * grown * (1 + 0.01 * seed)
        found[f"plasticity/policy/{layer}/sigma_min"] = 0.0 if visit and arm == "none" else 0.5
        late = visit > 0 and place == "last"
        found[f"plasticity/policy/{layer}/jacobian_log_spread"] = 2.0 * late + 0.01 * seed
    found["plasticity/policy/network/kernel_condition"] = 10.0
    if visit or place == "last":  # a drift since the last switch, which comes first
        found["plasticity/policy/network/kernel_drift"] = 0.1 * (1 + (place == "first"))
    return found


@pytest.fixture(scope="module")
def folder(write_visits, tmp_path_factory):
    return write_visits(tmp_path_factory.mktemp("lens"), ("none", "adamo", "fresh"), 4, 6, cells)


@pytest.fixture(scope="module")
def table(folder):
    return lens_table(read_runs(folder))


def row(table, arm, name, layer="layers"):
    mine = table[(table["arm"] == f"ppo-{arm}") & (table["name"] == name)]
    return mine[mine["layer"] == layer].iloc[0]


def test_values_at_switches_are_of_the_first_and_last_rows(folder):
    values = switch_values(read_runs(folder))
    mine = values[(values["arm"] == "ppo-none") & (values["seed"] == 0)]
    mine = mine[(mine["layer"] == "layer1") & (mine["name"] == "sigma_max")]
    by_place = mine.pivot(index="visit", columns="place", values="value")
    assert by_place["first"].to_list() == pytest.approx([2 * 1.5**v for v in range(6)])
    assert by_place["last"].to_list() == pytest.approx([2 * 1.5 ** (v + 1) for v in range(6)])
    medians = by_branch(values).query("name == 'sigma_max' and arm == 'ppo-adamo' and seed == 0")
    assert set(medians["value"]) == {2.0}  # of 1, 2 and 9: the head is left out
    assert set(by_branch(values)["layer"]) == {"layers", "network"}


def test_what_grows_and_what_is_kept(table):
    grown = row(table, "none", "sigma_max")
    assert grown["young"] == pytest.approx(2.0, rel=0.03)
    # The last two of six visits: medians over visits of logarithms, of 1.5^5 and 1.5^6.
    assert grown["before"] / grown["young"] == pytest.approx(1.5**5.5)
    assert grown["after"] / grown["young"] == pytest.approx(1.5**4.5)
    assert grown["change"] == pytest.approx(5.5 * np.log(1.5))
    assert grown["verdict"] == "grown"
    assert row(table, "none", "sigma_min")["verdict"] == "fallen"
    assert row(table, "adamo", "sigma_max")["verdict"] == "kept"
    assert row(table, "adamo", "kernel_condition", "network")["verdict"] == "kept"
    assert row(table, "adamo", "sigma_max", "layer2")["young"] == pytest.approx(9.0, rel=0.03)
    drift = row(table, "adamo", "kernel_drift", "network")
    assert (drift["young"], drift["before"], drift["after"]) == pytest.approx((0.1, 0.1, 0.2))
    assert drift["verdict"] == "kept"
    spread = row(table, "adamo", "jacobian_log_spread")
    assert spread["before"] - spread["young"] == pytest.approx(2.0)
    assert spread["after"] == pytest.approx(spread["young"])
    assert spread["verdict"] == "grown"


def test_what_a_young_network_has_not_is_neither_kept_nor_lost(write_visits, tmp_path):
    def without(arm, seed, visit, place):
        return cells(arm, seed, visit, place) | {"plasticity/policy/layer0/jacobian_sigma_min": 0.0}

    folder = write_visits(tmp_path, ("none", "adamo"), 2, 3, without)
    assert row(lens_table(read_runs(folder)), "adamo", "jacobian_sigma_min")["verdict"] == "zero"


def test_returns_stand_beside_it(table):
    assert row(table, "adamo", "sigma_max")["value"] == pytest.approx((4 + 2 * 6) / 3)
    assert row(table, "none", "sigma_max")["share"] == pytest.approx(1.0)
    assert row(table, "adamo", "sigma_max")["share"] == pytest.approx(2 / 3)


def test_a_sentence_says_what_each_arm_keeps(table):
    said = sentence(table)
    assert "none keeps NTK condition, NTK drift;" in said
    assert "adamo keeps W max, W min, NTK condition, NTK drift;" in said
    assert said.index("none keeps") < said.index("adamo keeps") < said.index("fresh keeps")


def test_the_command_writes_table_page_and_figure(folder, tmp_path):
    console = Console(width=200, record=True)
    lens(LensConfig((folder,), tmp_path / "made"), console)
    table = pd.read_csv(tmp_path / "made/lens.csv")
    assert set(table["verdict"]) == {"kept", "grown", "fallen"}
    assert "| none | 2 → 19 / 13 |" in (tmp_path / "made/lens.md").read_text()
    assert (tmp_path / "made/lens.png").read_bytes().startswith(b"\x89PNG")
    assert "adamo keeps W max" in console.export_text()


def test_runs_that_were_not_measured_are_refused(write_visits, tmp_path):
    bare = write_visits(
        tmp_path / "bare", ("none",), 1, 2, lambda *_: {"charts/episodic_return": 1.0}
    )
    with pytest.raises(InputError, match="no diagnostics were measured at task switches"):
        lens_table(read_runs(bare))
    with pytest.raises(InputError, match="no metrics"):
        read_streams([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="both seed 0 of ppo-none"):
        read_streams([bare, write_visits(tmp_path / "two", ("none",), 1, 2, cells)])
