"""Plans of all tiers: they fit, and cost what their tiers allow."""

import dataclasses

import pytest

from neoteny.experiments.main import main
from neoteny.experiments.reproductions import REPRODUCTIONS, TIERS
from neoteny.experiments.reproductions.reproduction import Comparison, duration
from neoteny.plasticity.interventions import changes_network

NAMES = tuple(REPRODUCTIONS)


@pytest.mark.parametrize(
    ("name", "tier"),
    [
        pytest.param(name, tier, marks=() if at == place % 3 else pytest.mark.slow)
        for place, name in enumerate(NAMES)
        for at, tier in enumerate(TIERS)
    ],
)
def test_every_plan_fits_and_costs_what_its_tier_allows(name, tier, tmp_path):
    reproduction = REPRODUCTIONS[name]
    configs = reproduction.configs(tier, tmp_path, data=tmp_path)
    minutes = reproduction.minutes(tier, configs)
    assert 0 < minutes <= {"preview": 5, "laptop": 180, "full": 3000 * 24 * 60}[tier]
    arms = [arm for config in configs.values() for arm in config.arms()]
    assert len({arm.folder for arm in arms}) == len(arms)
    for config in configs.values():
        assert config.steps % config.hyper.steps_per_iteration == 0
        assert config.folder.parent == tmp_path
    if name not in ("revival", "depth", "gradual"):
        assert_fresh_networks_of_every_kind(arms)


def assert_fresh_networks_of_every_kind(runs):
    """Every arm has fresh networks with its layers."""

    def layers(run):
        return run.network, frozenset(filter(changes_network, run.intervention))

    fresh = {layers(run) for run in runs if "fresh" in run.intervention}
    assert {layers(run) for run in runs} == fresh
    plain = next(run for run in runs if "fresh" in run.intervention)
    assert (plain.network.activation, plain.intervention) in (
        ("relu", ("fresh",)),
        ("groupsort", ("fresh",)),  # where all arms have it
    )


def test_the_papers_plans_have_its_sizes(tmp_path):
    (runs,) = REPRODUCTIONS["factors"].configs("full", tmp_path).values()
    assert runs.seed_list == list(range(26, 34))
    assert (runs.hyper.num_envs, runs.hyper.learning_rate) == (2048, 2.5e-4)
    assert runs.network.widths == (64, 64, 64, 64)
    assert runs.steps == 80 * 58 * 2048 * 128
    assert len(runs.arms()) == 12  # the 2 x 2 x 2, and fresh networks of every layer


def test_deep_networks_are_known_to_take_longer(tmp_path):
    depth = REPRODUCTIONS["depth"]
    configs = depth.configs("preview", tmp_path)
    steps = sum(arm.steps * arm.seeds for config in configs.values() for arm in config.arms())
    assert depth.minutes("preview", configs) > 1.5 * steps / 60_000 / 60


def test_diagnostics_at_switches_are_known_to_take_time(tmp_path):
    (config, _) = REPRODUCTIONS["spectra"].configs("preview", tmp_path).values()
    plain, spectral = (
        Comparison({}, 60_000).seconds(dataclasses.replace(config, diagnose_switches=groups))
        for groups in ((), ("jacobians", "kernel"))
    )
    members = 2 * 3  # arms and seeds
    assert plain == pytest.approx(members * (153_600 / 60_000 + 8 * 2 * 0.02))
    assert spectral - plain == pytest.approx(members * 8 * 0.3)
    (abrupt, _, gradual, *_) = REPRODUCTIONS["gradual"].configs("preview", tmp_path).values()
    assert Comparison({}, 60_000).seconds(gradual) > 1.5 * Comparison({}, 60_000).seconds(abrupt)


def test_another_first_seed_moves_all_members(tmp_path):
    (config,) = REPRODUCTIONS["decoupled"].configs("preview", tmp_path, 100).values()
    assert config.seed_list[0] == 100


@pytest.mark.parametrize(
    ("minutes", "text"),
    [(0.2, "1 minute"), (90, "90 minutes"), (180, "3 hours"), (4320, "3 days")],
)
def test_durations_have_the_unit_that_people_use(minutes, text):
    assert duration(minutes) == text


def test_the_list_has_claims_and_costs(capsys):
    assert main(["list", "reproductions", "--markdown"]) == 0
    rows = dict(line.split(" | ", 1) for line in capsys.readouterr().out.splitlines())
    assert len(rows) == len(REPRODUCTIONS) + 2
    assert rows["| factors"].startswith("GroupSort layers without biases")
    assert rows["| factors"].count("minute") == 2
    assert "days" in rows["| factors"]
