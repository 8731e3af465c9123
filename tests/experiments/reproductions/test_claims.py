"""Sentences of reproductions, on data that are made to say one thing or the other."""

import numpy as np
import pytest
from claims import frame_of_gains

from neoteny.experiments.reproductions import REPRODUCTIONS
from neoteny.experiments.reproductions.reproduction import Evidence

NOISE = np.random.default_rng(0).normal(size=(40, 4, 6))


def evidence_of(name, gain, tmp_path, noise=0.05, **options):
    """Evidence with the arms of a reproduction's preview: `gain` is of an arm's run, in visits."""
    reproduction = REPRODUCTIONS[name]
    configs = reproduction.configs("preview", tmp_path)
    runs = {arm.arm: arm for config in configs.values() for arm in config.arms()}
    trained = {arm: run for arm, run in runs.items() if run.intervention != ("fresh",)}
    gains = {
        arm.removeprefix("ppo-"): np.broadcast_to(gain(run), (4, 6)) + noise * NOISE[place]
        for place, (arm, run) in enumerate(trained.items())
    }
    frame = frame_of_gains(gains, **options)
    fresh = next(arm for arm in runs if arm not in trained)
    frame["arm"] = frame["arm"].replace("ppo-fresh", fresh)
    plan = reproduction.plans["preview"]
    return Evidence({"runs": frame}, runs, plan.settings, 0)


def found(name, gain, tmp_path, **options):
    finding = REPRODUCTIONS[name].analyse(evidence_of(name, gain, tmp_path, **options))
    caption = finding.draw(tmp_path / "figure.png", narrow=False)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert caption.endswith(".")
    return finding


@pytest.mark.parametrize(
    ("worth", "noise", "whole", "part"),
    [
        (1.0, 0.05, "tasks GroupSort without biases under AdamO keeps more", "GroupSort helps"),
        (-1.0, 0.05, "tasks GroupSort without biases under AdamO keeps less", "GroupSort harms"),
        (0.0, 1.0, "leave open whether GroupSort", "GroupSort leaves open whether it helps"),
    ],
)
def test_factors_say_what_the_activation_is_worth(worth, noise, whole, part, tmp_path):
    finding = found(
        "factors",
        lambda run: 2 + worth * (run.network.activation == "groupsort"),
        tmp_path,
        noise=noise,
    )
    assert whole in finding.sentence
    assert part in finding.sentence
    effects = finding.table.set_index("arm")["share"]
    assert effects["effect of GroupSort"] == pytest.approx(worth / 4, abs=noise)


@pytest.mark.parametrize(
    ("worth", "noise", "words"),
    [
        (1.0, 0.05, "tasks AdamO keeps more"),
        (-1.0, 0.05, "tasks AdamO keeps less"),
        (0.0, 1.0, "leave open whether AdamO keeps more"),
    ],
)
def test_decoupled_compares_at_the_same_strength(worth, noise, words, tmp_path):
    def gain(run):
        return 2 + worth * run.intervention[0].startswith("adamo")

    def gram(arm, seed, visit):
        return {"plasticity/policy/layer0/gram_deviation": 5.0 if "adamo" in arm else 7.0}

    finding = found("decoupled", gain, tmp_path, noise=noise, more=gram)
    assert words in finding.sentence
    assert "at λ = 0.0036" in finding.sentence
    assert finding.table.set_index("arm")["gram"]["adamo-isometry=0.036"] == 5.0
