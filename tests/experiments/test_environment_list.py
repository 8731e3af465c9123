"""`list envs` says of every environment what one can see and do in it."""

from neoteny import envs
from neoteny.experiments.main import main


def test_every_environment_is_listed_with_its_spaces(capsys):
    assert main(["list", "envs", "--markdown"]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    found = {}
    for names, observation, actions, limits in rows[:-1]:
        *ids, what = names.split("<br>")
        assert len(what) > 10
        for id, action, limit in zip(ids, actions.split("<br>"), limits.split("<br>"), strict=True):
            found[f"neoteny/{id}"] = (observation, action, limit)
    assert sorted(found) == envs.registered()
    assert found["neoteny/MinAtar-Breakout-v1"] == ("10x10x4 bool", "3", "none")
    assert found["neoteny/CartPole-v1"] == ("4 float32", "2", "500")
    assert found["neoteny/Pendulum-v1"] == ("3 float32", "[-2, 2]", "200")
    assert found["neoteny/MiniGrid-DoorKey-5x5-v0"] == ("7x7x3 uint8", "7", "250")
    assert rows[-1][0].startswith("any other id<br>stepped on the host")


def test_the_table_fits_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["list", "envs"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "MiniGrid-Dynamic-Obstacles-Random-5x5-v0" in out
