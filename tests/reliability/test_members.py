"""A member whose numbers go bad touches no other."""

from pathlib import Path
from typing import Any

import pytest
import torch
from reliability.processes import RUNS
from reliability.records import table

from neoteny.experiments.main import main
from neoteny.experiments.run import runner as running


def members(run: Path) -> dict[str, Any]:
    return {path.parent.name: table(path) for path in run.glob("seed_*/metrics.csv")}


@pytest.mark.parametrize(
    ("agent", "poison"),
    [
        ("ppo", "nan"),
        *(
            pytest.param(agent, poison, marks=pytest.mark.slow)
            for agent in ("ppo", "dqn", "classifier")
            for poison in ("nan", "inf", "1e30")
            if (agent, poison) != ("ppo", "nan")
        ),
    ],
)
def test_a_member_of_bad_numbers_touches_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agent: str, poison: str
) -> None:
    """After the second iteration, member 1 gets weights that nothing can come of."""
    arguments = [*RUNS[agent].split(), "--seeds", "3", "--out"]
    assert main([*arguments, str(tmp_path / "whole")]) == 0
    iterate = running.Runner._iterate

    def poisoned(self: running.Runner, recorder: Any) -> Any:
        if self.iteration == 2:
            with torch.no_grad():
                for parameter in self.agent.network.parameters():
                    parameter[1] = float(poison)
        return iterate(self, recorder)

    monkeypatch.setattr(running.Runner, "_iterate", poisoned)
    assert main([*arguments, str(tmp_path / "bad")]) == 0
    whole, bad = members(tmp_path / "whole"), members(tmp_path / "bad")
    assert list(whole) == list(bad)
    assert len(whole["seed_26"][1]) == 5
    for healthy in ("seed_26", "seed_28"):
        assert bad[healthy] == whole[healthy]
    assert bad["seed_27"] != whole["seed_27"]
    if poison == "nan":
        alive = bad["seed_27"][0].index("charts/alive")
        assert [row[alive] for row in bad["seed_27"][1]] == ["1.0", "1.0", "0.0", "0.0", "0.0"]
