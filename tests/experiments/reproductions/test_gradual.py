"""The sentence on abrupt and gradual change, on gains that are made to say one thing or another."""

import numpy as np
import pandas as pd
import pytest
from claims import frame_of_gains

from neoteny.experiments.report.drawing import INK, save
from neoteny.experiments.reproductions import REPRODUCTIONS, gradual
from neoteny.experiments.reproductions.gradual import losses
from neoteny.experiments.reproductions.reproduction import Evidence

TURNOVER = 200  # of one visit, as `frame_of_gains` has them


def test_losses_are_of_the_second_turnover_and_the_last_third():
    visits = pd.DataFrame({"seed": 0, "start": np.arange(12) * 100, "gain": 1.0})
    visits["end"] = visits["start"] + 100
    visits.loc[visits["start"].isin([200, 300]), "gain"] = [6.0, 10.0]
    visits.loc[visits["start"] >= 800, "gain"] = [1.0, 2.0, 3.0, 4.0]
    found = losses(visits, 200)
    assert found.loc[0].to_dict() == pytest.approx({"early": 8.0, "late": 2.5, "lost": 1 - 2.5 / 8})
    nothing = losses(visits.assign(gain=-1.0), 200)
    assert np.isnan(nothing.loc[0, "lost"])


@pytest.mark.parametrize(
    ("late", "noise", "words"),
    [
        ((2.0, 4.0), 0.01, "takes less than abrupt change in none at the slow rate ("),
        pytest.param(
            (4.0, 2.0),
            0.01,
            "takes more than abrupt change in none at the slow rate (",
            marks=pytest.mark.slow,
        ),
        (
            (3.0, 3.0),
            1.0,
            "takes a share that the data do not tell from abrupt change's in none",
        ),
    ],
    ids=["less", "more", "open"],
)
def test_the_sentence_and_the_figure_follow_the_losses(late, noise, words, tmp_path, monkeypatch):
    reproduction = REPRODUCTIONS["gradual"]
    frames = {}
    for name in reproduction.plans["preview"].comparisons:
        _, share, network = name.split("-")
        end = late[share != "1"]
        gains = {
            {"relu": "none", "isometric": "adamo-x=1"}[network]: np.where(
                np.arange(12) < 8, 4.0, end
            )
            + noise * np.random.default_rng(len(frames)).normal(size=(4, 12))
        }
        frames[name] = frame_of_gains(gains)
    settings = {"turnovers": {"slow": TURNOVER, "fast": TURNOVER}, "shares": (1.0, 0.1)}
    finding = reproduction.analyse(Evidence(frames, {}, settings, 0))
    assert words in finding.sentence
    table = finding.table[finding.table["arm"].isin(["none", "adamo"])]
    expected = [1 - end / 4.0 for end in late]
    lost = [table.loc[table["share"] == share, "lost"].mean() for share in (1.0, 0.1)]
    assert lost == pytest.approx(expected, abs=max(0.02, 0.8 * noise))
    more = table.loc[table["share"] == 0.1, "abrupt loses more"].to_numpy()
    assert more == pytest.approx(expected[0] - expected[1], abs=max(0.02, 1.5 * noise))
    drawn = []
    monkeypatch.setattr(
        gradual, "save", lambda figure, path: (drawn.append(figure), save(figure, path))
    )
    assert finding.draw(tmp_path / "figure.png", narrow=True).endswith(".")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    points = [line for line in drawn[0].axes[-1].lines if line.get_marker() == "o"]
    hollow = ["white" if noise == 1 else INK] * len(more)  # where the interval holds 0
    assert [point.get_markerfacecolor() for point in points] == hollow


@pytest.mark.parametrize("tier", ["preview", "laptop", "full"])
def test_streams_of_a_rate_replace_as_many_labels_in_as_many_samples(tier, tmp_path):
    reproduction = REPRODUCTIONS["gradual"]
    settings = reproduction.plans[tier].settings
    for name, config in reproduction.configs(tier, tmp_path).items():
        rate, share, _ = name.split("-")
        assert config.env_option == (f"share={float(share)}",)
        assert config.task_steps == round(float(share) * settings["turnovers"][rate])
        assert config.task_steps % config.hyper.steps_per_iteration == 0
        assert config.steps % settings["turnovers"][rate] == 0
