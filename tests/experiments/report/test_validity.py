"""Predictive validity on runs made up after known rules."""

import numpy as np
import pytest
from rich.console import Console

from neoteny.core.errors import InputError
from neoteny.experiments.report.validity import (
    ValidityConfig,
    readable,
    sentences,
    validity,
    validity_table,
)
from neoteny.experiments.statistics.runs import read_runs

ARMS = tuple(f"l2_init:strength=0.{index}" for index in range(1, 9))
LOSS = dict(zip(ARMS, np.linspace(0, 2, len(ARMS)), strict=True))


def noise(arm, seed, visit, what):
    return np.random.default_rng([seed, visit, sum(map(ord, arm + what))]).normal()


def loss(arm, seed, visit):
    return 0.0 if arm == "fresh" else LOSS[arm] * visit + 0.05 * noise(arm, seed, visit, "return")


def cells(arm, seed, visit, place):
    """Runs lose what `told` tells at the switch; `blind` is noise of arms, `early` leads by one."""
    lost = loss(arm, seed, visit)
    layer = "plasticity/policy/layer0"
    return {
        "charts/episodic_return": (100.0 if place == "last" else 1.0) - lost,
        f"{layer}/told": lost if place == "first" else -7.0,
        f"{layer}/early": loss(arm, seed, visit + 1) if place == "last" else 3.0,
        f"{layer}/blind_rank": noise(arm, 0, 0, "blind") + 0.01 * noise(arm, seed, visit, "own"),
        "plasticity/policy/network/opposite": -lost,
    }


@pytest.fixture(scope="module")
def folder(write_visits, tmp_path_factory):
    return write_visits(tmp_path_factory.mktemp("validity"), (*ARMS, "fresh"), 4, 5, cells)


@pytest.fixture(scope="module")
def table(folder):
    return validity_table(read_runs(folder), draws=300).set_index("name")


def test_a_diagnostic_that_tells_is_found(table):
    assert table.loc["told", "rho"] > 0.95
    assert table.loc["opposite", "rho"] < -0.95
    assert table.loc["told", "within"] > 0.9
    assert table.loc["told", "p_adjusted"] < 0.02
    assert table.loc["told", "low"] <= table.loc["told", "rho"] <= table.loc["told", "high"]
    assert (table["runs"] == 32).all()
    assert (table["arms"] == 8).all()  # fresh is what they are measured against
    assert (table["switches"] == 4).all()  # nothing can be lost before the first visit
    assert list(table.index[:2]) in (["told", "opposite"], ["opposite", "told"])


def test_noise_of_arms_is_not_taken_for_a_finding(table):
    assert table.loc["blind_rank", "p_adjusted"] > 0.1
    assert abs(table.loc["blind_rank", "shuffled"]) < 0.1
    assert table.loc["blind_rank", "shuffled_low"] < -0.4  # eight arms, not thirty-two runs


def test_the_last_iteration_predicts_the_visit_after(folder, table):
    assert "early" not in table.index  # constant in first iterations
    late = validity_table(read_runs(folder), "last", draws=100).set_index("name")
    assert late.loc["early", "rho"] > 0.95
    assert "told" not in late.index


def test_sentences_are_made_of_the_data(table):
    said = sentences(table.reset_index())
    assert "Across 8 arms at 4 switches, 2 of 3 diagnostics order runs" in said
    assert "of 1 measures of rank none do" in said
    assert "told of policy (+0." in said or "told of policy (+1." in said


def test_jacobians_of_layers_and_of_the_network_have_names_of_their_own(table):
    twice = table.reset_index().iloc[[0, 0]]
    twice = twice.assign(name="jacobian_sigma_max", of=["layers", "network"])
    names = list(readable(twice).columns[0].cells)
    assert names == ["jacobian_sigma_max", "jacobian_sigma_max (network)"]
    assert "jacobian_sigma_max (network) of policy" in sentences(twice)


def test_the_command_writes_ranking_page_and_figure(folder, tmp_path):
    console = Console(width=200, record=True)
    validity(ValidityConfig((folder,), draws=100, out=tmp_path), console)
    assert "told" in (tmp_path / "validity.csv").read_text()
    assert "| told | policy | +1.00" in (tmp_path / "validity.md").read_text()
    assert (tmp_path / "validity.png").read_bytes().startswith(b"\x89PNG")
    assert "order runs by the next task's shortfall" in " ".join(console.export_text().split())


def test_what_cannot_be_judged_is_refused(write_visits, tmp_path):
    alone = write_visits(tmp_path / "alone", ARMS[:2], 2, 3, cells)
    with pytest.raises(InputError, match="there is no arm fresh"):
        validity_table(read_runs(alone))
    one = write_visits(tmp_path / "one", (ARMS[0], "fresh"), 2, 3, cells)
    with pytest.raises(InputError, match="runs of at least two"):
        validity_table(read_runs(one))
    with pytest.raises(InputError, match="draws is 5"):
        ValidityConfig((one,), draws=5)
