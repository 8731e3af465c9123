"""The benchmark programs: what they count, how they time, and that a quick run gives numbers."""

import importlib
import json
import sys
from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rehearsal import DEVICE, rehearsal

from neoteny.envs import make, registered
from neoteny.envs.minatar import GAMES
from neoteny.envs.minigrid import VARIANTS
from neoteny.envs.minigrid.rooms import MultiRoom

FOLDER = Path(__file__).parents[2] / "benchmarks"
QUICK = [
    ("throughput", {"sb3": False, "arms": ("AdamO",)}),
    ("throughput", {"agent": "dqn"}),
    ("environments", {"games": ("CartPole", "Breakout", "Empty")}),
    ("exactness", {"games": ("CartPole", "Breakout", "Seaquest", "DoorKey")}),
    ("scaling", {"sweeps": ("environments", "members", "adamo")}),
    ("overhead", {"interventions": ("c_chain", "redo", "plasticity_injection")}),
    ("diagnostics", {}),
]


@pytest.fixture(scope="module")
def load():
    """Imports a module of the benchmarks, which are scripts and no package."""
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module
    sys.path.remove(str(FOLDER))


def test_windows_take_turns_and_the_first_is_not_counted(load):
    measure = load("_measure")
    calls, seconds = [], {"a": iter([9.0, 1.0, 2.0, 4.0]), "b": iter([5.0, 2.0, 2.0, 2.0])}

    def window(name):
        def run():
            calls.append(name)
            return measure.Window(8, next(seconds[name]))

        return run

    contenders = [measure.Contender({"name": name}, window(name)) for name in "ab"]
    windows = measure.take_turns(contenders, 3)
    assert calls == list("abababab")
    summary = measure.summarize(windows, ["name"]).set_index("name")
    assert summary.loc["a", ["median", "lowest", "highest"]].tolist() == [4, 2, 8]
    assert summary["first_call"].tolist() == [7.0, 3.0]
    ratio = measure.paired_ratio(windows, windows["name"] == "a", windows["name"] == "b")
    assert ratio == (1.0, 0.5, 2.0)
    with pytest.raises(ValueError, match="windows is 0"):
        measure.take_turns(contenders, 0)


def test_a_peer_answers_window_by_window(load, tmp_path, monkeypatch):
    peer = load("_peer")
    worker = tmp_path / "worker.py"
    worker.write_text((FOLDER / "peers" / "worker.py").read_text())
    (tmp_path / "loop.py").write_text(
        "def prepare(amount):\n    print('noise')\n    return lambda: amount\n"
    )
    monkeypatch.setattr(peer, "WORKER", worker)
    with peer.Peer(Path(sys.executable), threads=1) as other:
        window, longer = other.window("loop", amount=5), other.window("loop", 0.05, amount=5)
        found = [window(), window()]
        other.forget()
        again = longer()
    assert [one.amount for one in found] == [5, 5]
    assert all(one.seconds > 0 for one in found)
    assert again.amount > 5
    assert again.seconds >= 0.05


def test_a_peer_that_fails_is_an_error(load):
    with load("_peer").Peer(Path(sys.executable)) as other:
        window = other.window("no_such_work")
        with pytest.raises(RuntimeError, match="ended with status 1"):
            window()


def test_ratios_are_to_the_peer_of_the_same_work(load):
    """Medians over windows, each against the one beside it; the first is not counted."""
    seconds = {("1x8", "ours"): (9, 1, 2, 4), ("1x8", "rejax"): (9, 2, 8, 4)}
    seconds |= {("2x8", "ours"): (9, 2, 2, 2), ("2x8", "rejax"): (9, 1, 1, 1)}
    rows = [
        {"network": network, "contender": name, "window": window, "amount": 8, "seconds": spent}
        for (network, name), found in seconds.items()
        for window, spent in enumerate(found)
    ]
    windows = pd.DataFrame(rows)
    summary = load("_measure").summarize(windows, ["network", "contender"])
    found = load("throughput").with_ratios(summary, windows, ["network"])
    assert found["times rejax"].tolist() == [2.0, 1.0, 0.5, 1.0]


class Recorder:
    """A peer that keeps what it is asked for."""

    def __init__(self):
        self.asked = []

    def window(self, work, **options):
        self.asked.append((work, options))


def test_dqn_plays_and_learns_what_its_peer_is_asked_for(load):
    throughput, peer = load("throughput"), Recorder()
    config = throughput.Config("dqn", lanes=128, steps=3, members=(2,))
    ours, _ = throughput.dqn_contenders(throughput.filled(config), "2x8", 32, peer)
    ((work, options),) = peer.asked
    assert (work, options["hidden"], options["updates"]) == ("rejax_dqn", (8, 8), 4)
    assert ours.window().amount == 128 * 3 * 2
    training = load("_work").DQNTraining((8,), 128, steps=36, every=32)
    env, agent = training.build()
    agent.iterate(env)  # 4,608 steps, of which all but 4,096 are followed by updates
    assert agent.learner.updates == (36 * 128 - training.dqn.learning_starts) // 32 + 4


def test_contenders_of_one_game_stand_in_one_row(load):
    rows = [
        ("b", 4, "neoteny", 6.0),
        ("b", 4, "gymnax", 2.0),
        ("b", 4, "envpool", 3.0),
        ("b", 4, "reference", 0.5),
        ("b", 8, "neoteny", 9.0),
        ("b", 8, "gymnax", 1.0),
        ("a", 4, "neoteny", 5.0),
    ]
    summary = pd.DataFrame(rows, columns=["game", "lanes", "contender", "median"])
    found = load("environments").beside(summary)
    assert list(found[["game", "lanes"]].itertuples(index=False)) == [("b", 4), ("b", 8), ("a", 4)]
    assert list(found.columns[2:6]) == ["neoteny", "gymnax", "envpool", "reference"]
    assert found["times the fastest peer"].tolist()[:2] == [2.0, 9.0]
    assert found["times the reference"].iloc[0] == 12.0
    assert found.iloc[2, 3:].isna().all()


def test_every_family_is_stepped_by_one_id_that_its_reference_has(load):
    games = load("_games").FAMILIES
    ids = [game.id for family in games.values() for game in family]
    assert len(set(ids)) == len(ids) == 5 + 4 + 19
    assert set(ids) <= {name.removeprefix("neoteny/") for name in registered()}
    classes = {type(make(id, 1)) for id in ids if "MultiRoom" not in id}
    assert classes | {MultiRoom} >= {family for family, _ in VARIANTS.values()}
    assert classes >= {*GAMES.values()}
    chosen = partial(load("_games").chosen, games, name=attrgetter("id"))
    found = [game.id for game in chosen(games, ("DoorKey", "Pendulum"))]
    assert found == ["Pendulum-v1", "MiniGrid-DoorKey-8x8-v0"]
    with pytest.raises(ValueError, match="nothing has 'Tetris'"):
        chosen(games, ("Tetris",))
    with pytest.raises(ValueError, match="no family"):
        chosen(("atari",), ())


def test_memory_counts_every_tensor_once(load):
    scaling = load("scaling")
    weight = torch.zeros(10)
    assert scaling.tensor_bytes({"a": [weight, weight.view(2, 5)]}, weight) == 40
    env, agent = load("_work").Training(8, 2, 4, 2).build()
    agent.learn(agent.collect(env))
    parameters = sum(p.numel() for p in agent.network.parameters())
    # Parameters, gradients and two moments, and the observations of the rollout.
    assert scaling.tensor_bytes(env, agent) > 4 * 4 * parameters + 2 * 4 * 1000


@pytest.mark.parametrize(
    ("program", "options"),
    [QUICK[0], *(pytest.param(*run, marks=pytest.mark.slow) for run in QUICK[1:])],
)
def test_a_quick_run_gives_finite_numbers(load, program, options, tmp_path, capsys):
    module = load(program)
    threads = torch.get_num_threads()
    module.main(module.Config(quick=True, out=tmp_path, **options))
    assert torch.get_num_threads() == threads
    assert "cpu" in capsys.readouterr().out
    tables = list(tmp_path.glob("*.csv"))
    assert tables
    for path in tables:
        numbers = pd.read_csv(path).select_dtypes("number")
        assert np.isfinite(numbers.stack()).all(), path
        if "seconds" in numbers:
            assert (numbers["seconds"] > 0).all()
        text = path.with_suffix(".md").read_text()
        assert "command: " in text
        assert "torch: " in text
        assert str(json.dumps({"quick": True}))[1:-1] in text


@pytest.mark.slow
def test_a_gpu_sitting_writes_each_part_as_it_ends(load, tmp_path):
    gpu = load("gpu")
    gpu.main(gpu.Config("cpu", ("graphs",), tmp_path, quick=True))
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["part"] for row in rows] == ["graphs", "graphs"]
    assert (rows[0]["what"], rows[0]["value"]) == ("largest difference of graphs from eager", 0)
    assert rows[1]["unit"] == "s"
    assert "torch: " in (tmp_path / "gpu.md").read_text()
    with pytest.raises(ValueError, match="parts has 'speed': give some of waits, graphs"):
        gpu.main(gpu.Config("cpu", ("speed",), tmp_path))


REHEARSED = ["waits", "graphs", "stepped", "ppo", "dqn", "adamo", "launches", "updates", "compiled"]


# Protocol and tests are processes of their own, which know no pretended device
@pytest.mark.slow
@pytest.mark.parametrize("part", REHEARSED)
def test_a_gpu_sitting_is_rehearsed_on_the_pretended_device(load, tmp_path, part):
    gpu = load("gpu")
    config = gpu.Config(str(DEVICE), (), tmp_path, quick=True)
    with rehearsal() as notes, torch.compiler.set_stance("force_eager"):  # which traces no modes
        rows = list(gpu.PARTS[part][1](config))
    assert rows
    assert all(np.isfinite(value) for _, value, _ in rows)
    # Copies that are meant to be: of weights to be compared, of tables and strengths at the start
    expected = {"graphs": ["gpu.py"], "stepped": ["asterix.py"], "adamo": ["adamo_checks.py"]}
    assert {note.rpartition(" at ")[2].partition(":")[0] for note in notes.waits} <= {
        *expected.get(part, [])
    }


@pytest.mark.slow
def test_a_whole_gpu_sitting_runs_on_a_cpu(load, tmp_path):
    gpu = load("gpu")
    gpu.main(gpu.Config("cpu", (), tmp_path, quick=True))
    table = pd.read_csv(tmp_path / "gpu.csv")
    assert list(table["part"].unique()) == list(gpu.PARTS)
    assert not table["what"].isin(load("_sitting").FAILURES).any(), table


def test_every_environment_is_compared_with_its_reference(load):
    exactness = load("exactness")
    found = [row.environment for row in exactness.comparisons(exactness.Config())]
    assert len(set(found)) == len(found) == 5 + 5 + 19
    row = exactness.compare(exactness.minatar("Asterix"), exactness.Config(steps=16, lanes=4))
    assert row["steps compared"] == 16 + 4 * 4
    assert row["states injected"] == 4
    assert (row["mismatches"], row["what differs"]) == (0, "nothing")
    with pytest.raises(ValueError, match="nothing has 'Tetris'"):
        exactness.comparisons(exactness.Config(games=("Tetris",)))


@pytest.mark.parametrize(
    "agent",
    ["ppo", *(pytest.param(name, marks=pytest.mark.slow) for name in ("dqn", "classifier"))],
)
def test_edits_are_timed_apart_from_updates_and_shared_out(load, agent):
    """Soft shrink-and-perturb edits once in a window, redo less often, fresh at switches."""
    overhead = load("overhead")
    names = ["none", "soft_shrink_perturb", "redo", "fresh", "nap"]
    config = overhead.Config(agent, width=8, depth=2, batch=16, updates=4, windows=1, edits=2)
    work, intervention = overhead.build(config, "soft_shrink_perturb:period=1")
    assert work.run() == 4
    assert intervention.activity.item() == 0
    assert work.obs.shape[:2] == (1, 16)
    assert overhead.edit_seconds(config, work, intervention) > 0
    assert intervention.activity.item() == 3  # one that is not counted, and two
    table, windows = overhead.measure(config, names)
    table = table.set_index("intervention")
    assert windows["amount"].unique().tolist() == [4]
    assert table["edit, ms"].notna().tolist() == [False, True, True, True, False]
    assert table["updates between edits"].notna().tolist() == [False, True, True, False, False]
    shared = table["edit, ms"] / table["updates between edits"] / table["update, ms"]["none"]
    expected = table["times Adam"] + shared.fillna(0)
    assert np.allclose(table["times Adam with edits"], expected)


def test_sb3_trains_on_the_padded_game(load):
    training = load("_work").Training(8, 2, lanes=16, steps=2)
    window = load("_sb3_work").sb3_training(training)
    assert window() == 4 * 16


def test_the_peers_options_are_ours(load):
    """Options of rejax follow those of the run that it is compared with."""
    throughput, peer = load("throughput"), Recorder()
    config = throughput.filled(throughput.Config(arms=(), sb3=False))
    throughput.ppo_contenders(config, "4x64", peer)
    [(work, options)] = peer.asked
    ppo = load("_work").Training(64).ppo
    assert work == "rejax_ppo"
    assert (options["lanes"], options["steps"]) == (ppo.num_envs, ppo.num_steps)
    assert options["minibatches"] == ppo.num_minibatches == 128
    assert (options["width"], options["depth"]) == (64, 4)


def test_the_speed_of_more_processes_follows_from_parts_and_messages(load):
    ranks = load("_ranks")
    link = ranks.Link(latency=0.01, bandwidth=100.0)
    assert link.reduced(2, 10) == pytest.approx(2 * (0.01 + 0.05))  # a hop there, a hop back
    assert link.gathered(4, 20) == pytest.approx(3 * (0.01 + 0.05))
    found = ranks.Costs(
        steps=60, seconds=6, half=4, acting=1, updates=2, gradient=10, moves=3, outcome=20
    )
    # By lanes 4 s of which 1 s is acting; 2 s whatever the lanes.
    assert [found.computing(size) for size in (1, 2, 3)] == [6, 4.5, 4]
    assert found.messages(1, link) == 0
    assert found.messages(2, link) == pytest.approx(2 * 0.12 + 3 * 0.11)
    assert found.rate(2, link) == pytest.approx(60 / (4.5 + 0.57))
    windows = pd.DataFrame(
        {
            "run": ["one", "half", "jobs", "ranks"] * 2,
            "window": [0] * 4 + [1] * 4,
            "amount": [60, 30, 120, 60] * 2,
            "seconds": [9, 9, 9, 9, 6, 4, 7.5, 5],
        }
    )
    table = ranks.table(windows, link, 2, (3,), lambda *times: found)
    table = table.set_index(["kind", "processes"])
    assert table.loc["jobs", "steps/s"].tolist() == [10, 16, 30]
    assert table.loc["ranks", "steps/s"].tolist()[:2] == [10, 12]
    assert table.loc[("ranks", 3), "steps/s"] == pytest.approx(found.rate(3, link))
    assert table.loc["ranks", ""].tolist() == ["measured", "measured", "predicted"]
