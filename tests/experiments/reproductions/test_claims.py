"""Sentences of reproductions, on data that are made to say one thing or the other."""

import re

import numpy as np
import pytest
from claims import frame_of_gains

from neoteny.experiments.report.drawing import save
from neoteny.experiments.reproductions import REPRODUCTIONS, spectra
from neoteny.experiments.reproductions.parts import SPECTRUM
from neoteny.experiments.reproductions.reproduction import Evidence
from neoteny.experiments.reproductions.revival import ARMS, BIASES, curves, sentence_of
from neoteny.experiments.statistics.metrics import Estimate

NOISE = np.random.default_rng(0).normal(size=(40, 4, 6))


def evidence_of(name, gain, tmp_path, noise=0.05, fresh=None, **options):
    """Evidence with the arms of a reproduction's preview: `gain` is of an arm's run, in visits.

    Fresh networks gain 4, or `fresh` of their run.
    """
    reproduction = REPRODUCTIONS[name]
    configs = reproduction.configs("preview", tmp_path)
    runs = {arm.arm: arm for config in configs.values() for arm in config.arms()}
    trained = {arm: run for arm, run in runs.items() if "fresh" not in run.intervention}
    gains = {
        arm: np.broadcast_to(gain(run), (4, 6)) + noise * NOISE[place]
        for place, (arm, run) in enumerate(trained.items())
    }
    gains |= {
        arm: np.full((4, 6), 4.0 if fresh is None else fresh(run))
        for arm, run in runs.items()
        if arm not in trained
    }
    frame = frame_of_gains({arm: gains[arm] for arm in runs}, fresh=None, **options)
    texts = {arm: "+".join(run.intervention) for arm, run in runs.items()}
    frame["interventions"] = frame["arm"].map(texts)
    frame["setup"] = frame["arm"].map({arm: str(run.network) for arm, run in runs.items()})
    plan = reproduction.plans["preview"]
    return Evidence({"runs": frame}, runs, plan.settings, 0)


DRAWN = set()


def found(name, gain, tmp_path, again=False, **options):
    """The finding of a reproduction; a kind of figure is drawn once, or again where it is read."""
    finding = REPRODUCTIONS[name].analyse(evidence_of(name, gain, tmp_path, **options))
    kind = finding.draw.__module__
    if again or kind not in DRAWN:
        DRAWN.add(kind)
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
    "name",
    [
        "factors",
        "random-labels",
        "spectra",
        pytest.param("continual-minatar", marks=pytest.mark.slow),
    ],
)
def test_a_head_start_of_the_layers_is_nothing_that_is_kept(name, tmp_path):
    """Networks of GroupSort gain half as much again, afresh and late alike."""

    def scale(run):
        return 1.5 if run.network.activation == "groupsort" else 1.0

    def kernel(arm, seed, visit, row):
        return {
            "plasticity/logits/network/kernel_condition": 100.0 + seed,
            "plasticity/logits/layer0/jacobian_log_spread": 0.5,
        }

    sentence = found(
        name,
        lambda run: 3 * scale(run),
        tmp_path,
        noise=1.0,
        fresh=lambda run: 4 * scale(run),
        more=kernel if name == "spectra" else None,
    ).sentence
    open_ = {
        "factors": "leave open whether GroupSort",
        "spectra": "leaves open if it keeps more",
    }
    assert open_.get(name, "leaves open how it compares with none") in sentence
    if name != "spectra":
        assert "1.50 [1.50, 1.50]" in sentence  # the head start


OUTCOMES = [(1.0, 0.05, "keeps more"), (-1.0, 0.05, "keeps less"), (0.0, 1.0, "leave")]


@pytest.mark.parametrize(("worth", "noise", "words"), OUTCOMES)
def test_decoupled_compares_at_the_same_strength(worth, noise, words, tmp_path):
    def gain(run):
        return 2 + worth * run.intervention[0].startswith("adamo")

    def gram(arm, seed, visit, row):
        return {"plasticity/policy/layer0/gram_deviation": 5.0 if "adamo" in arm else 7.0}

    finding = found("decoupled", gain, tmp_path, noise=noise, more=gram)
    open_ = "the data leave open whether AdamO keeps more"
    assert (open_ if words == "leave" else f"AdamO {words}") in finding.sentence
    assert "at λ = 0.04" in finding.sentence
    assert finding.table.set_index("arm")["gram"]["adamo-isometry=0.4"] == 5.0


MATCHES = (
    *("newton-schulz", "random-labels", "permuted-inputs", "shuffled-labels"),
    "without-penalty",
)


@pytest.mark.parametrize(
    ("name", "worth", "noise", "words"),
    [
        pytest.param(name, *outcome, marks=() if at == place % 3 else pytest.mark.slow)
        for place, name in enumerate([*MATCHES, "continual-minatar"])
        for at, outcome in enumerate(OUTCOMES)
    ],
)
def test_one_arm_is_set_beside_all_others(name, worth, noise, words, tmp_path):
    ours = REPRODUCTIONS[name].plans["preview"].settings["ours"]

    def gain(run):
        own = run.network.residual or run.network.activation == "groupsort"
        return 2 + worth * ("+".join(run.intervention) == ours and own)

    finding = found(name, gain, tmp_path, noise=noise)
    sentence = finding.sentence
    assert words.replace("leave", "leaves open how it compares with") in sentence
    others = finding.table.iloc[1:]
    assert others["ahead of it"].to_numpy() == pytest.approx(worth / 4, abs=noise)
    assert all(arm in sentence for arm in others["arm"])
    assert sentence.count("none") >= 1


def test_depths_are_told_apart(tmp_path):
    worth = {2: -1.0, 8: 1.0, 32: 0.0}

    def gain(run):
        return 2 + worth[len(run.network.widths)] * (run.intervention != ("none",))

    sentence = found("depth", gain, tmp_path, noise=0.1).sentence
    assert re.search(
        r"more than ReLU under Adam at 8 \(.*; less than ReLU under Adam at 2 \(", sentence
    )
    assert re.search(r"left open at 32 \(", sentence)


@pytest.mark.parametrize(
    ("growth", "grown", "tie"),
    [
        (1.0, "grows under Adam with ReLU", "those with a worse condition keep less"),
        (-1.0, "falls under Adam with ReLU", "those with a worse condition keep more"),
        (0.0, "is not shown to change under Adam with ReLU", "does not tell which keep more"),
    ],
)
def test_spectra_say_where_the_condition_grows_and_what_it_tells(growth, grown, tie, tmp_path):
    rng = np.random.default_rng(1)

    def gain(run):
        return 3 if run.network.activation == "groupsort" else 1

    def kernel(arm, seed, visit, row):
        power = growth * visit * ("groupsort" not in arm and "fresh" not in arm)
        noise = np.exp(0.1 * rng.normal())
        return {
            "plasticity/logits/network/kernel_condition": 100 * np.exp(power) * noise,
            "plasticity/logits/layer0/jacobian_log_spread": 0.5,
        }

    sentence = found("spectra", gain, tmp_path, noise=0.0, more=kernel).sentence
    assert grown in sentence
    assert tie in sentence
    assert "is not shown to change under adamo" in sentence
    assert "keeps more of the ability to learn (+" in sentence


def test_spectra_leave_open_what_the_interval_does_not_decide(tmp_path):
    def kernel(arm, seed, visit, row):
        return {
            "plasticity/logits/network/kernel_condition": 100.0 + seed,
            "plasticity/logits/layer0/jacobian_log_spread": 0.5,
        }

    sentence = found("spectra", lambda run: 2.0, tmp_path, noise=1.0, more=kernel).sentence
    assert "which leaves open if it keeps more" in sentence


def test_conditions_have_plain_numbers_on_their_axis(tmp_path, monkeypatch):
    texts = []

    def kernel(arm, seed, visit, row):
        return {
            "plasticity/logits/network/kernel_condition": (100.0 + seed) * 4**visit,
            "plasticity/logits/layer0/jacobian_log_spread": 0.5,
        }

    def read(figure, path):
        figure.canvas.draw()
        texts.extend(label.get_text() for label in figure.axes[0].get_yticklabels())
        save(figure, path)

    monkeypatch.setattr(spectra, "save", read)
    found("spectra", lambda run: 2.0, tmp_path, again=True, more=kernel)
    assert "1,000" in texts
    assert not any("$" in text for text in texts)


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (("none",), "as many as the best of the others"),
        pytest.param(
            ("adamo-half_life=5tasks-groupsort",),
            "fewer than the best of the others",
            marks=pytest.mark.slow,
        ),
        (("",), "more than the best of the others"),
    ],
)
def test_the_lens_counts_the_parts_that_are_kept(lost, words, tmp_path):
    def parts(arm, seed, visit, row):
        arm = arm.removeprefix("classifier-")
        ours = arm.startswith("adamo-half_life=5tasks-groupsort")
        loses = arm.startswith(lost) and not (ours and lost == ("",))
        value = 1.0 + 0.01 * seed
        return {
            f"plasticity/logits/layer0/{name}": value * (5.0**visit if loses else 1)
            for name in SPECTRUM[::3]  # of weights and Jacobians
        }

    finding = found("lens", lambda run: 2.0, tmp_path, more=parts)
    assert words in finding.sentence
    assert "leave open if it keeps more" in finding.sentence


def test_revival_in_small_says_who_revives_what(tmp_path):
    """As the toy of the regulariser alone: by weights all come back, behind a bias of -3 none."""
    reproduction = REPRODUCTIONS["revival"]
    settings = {"steps": 119, "width": 16, "seeds": 2}  # no multiple of the counts
    finding = reproduction.analyse(Evidence({}, {}, settings, 3))
    left = finding.table.set_index(["death", "arm"])["revived"]
    assert left["dead by weights", "AdamO"] == 1
    assert left["dead by weights", "Adam"] == 0
    assert left["and a bias of -3", "AdamO"] == 0
    assert "dead by weights: 1.00 [1.00, 1.00], more than L2's" in finding.sentence
    assert "and a bias of -3: 0% under both" in finding.sentence
    finding.draw(tmp_path / "figure.png", narrow=True)
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize(("steps", "counts"), [(7, 8), (40, 41), (119, 41)])
def test_dead_units_are_counted_from_the_first_to_the_last_step(steps, counts):
    dead = curves(0.0, "Adam", steps, 4, range(2))
    assert dead.shape == (2, counts)
    assert np.all(dead[:, 0] == 1)


def test_sentences_on_revival_follow_the_intervals():
    def sentence(ahead):
        pairs = {(death, arm): Estimate(0.5, 0.4, 0.6) for death in BIASES for arm in ARMS}
        pairs |= {(death, "Adam, L2 1e-2"): Estimate(0.4, 0.3, 0.5) for death in BIASES}
        return sentence_of(pairs, dict.fromkeys(BIASES, ahead), 4)

    assert "more than L2's" in sentence(Estimate(0.1, 0.05, 0.15))
    assert "less than L2's" in sentence(Estimate(-0.1, -0.15, -0.05))
    assert "leaves open if it is more than L2's" in sentence(Estimate(0.1, -0.1, 0.3))
