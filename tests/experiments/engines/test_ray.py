"""Units as tasks of Ray: a node that is killed in the middle changes no number."""

import sys
import threading
import time
from types import SimpleNamespace

import pytest

from neoteny.core.errors import RunError
from neoteny.experiments.engines.engine import Outcome
from neoteny.experiments.engines.ray_cluster import RayEngine
from neoteny.experiments.main import main

GRID = "compare --env CartPole-v1 --num-envs 8 --num-steps 8 --num-epochs 1 --num-minibatches 2 "
GRID += "--hidden 8 --task-steps 1280 --steps 6400 --seeds 4 --block 2 --threads 1 "
GRID += "--diagnose-every 20 --checkpoint-minutes 0.01 "
GRID += "--interventions none adamo l2_init fresh layer_norm redo"


def test_without_ray_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    command = f"compare --engine ray --interventions none --steps 64 --out {tmp_path / 'new'}"
    assert main(command.split()) == 2
    assert capsys.readouterr().err == "error: engine ray needs Ray: pip install 'neoteny[ray]'\n"
    assert main([*command.split(), "--jobs", "2"]) == 2
    assert "jobs is 2, but Ray itself trains as many" in capsys.readouterr().err


def test_a_cluster_that_is_not_there_or_does_not_start_is_one_line(tmp_path, monkeypatch, capsys):
    def init(address, **_):
        raise Exception("timed out during startup\nsee the logs")  # as Ray itself does

    ray = SimpleNamespace(init=init, is_initialized=lambda: False)
    monkeypatch.setitem(sys.modules, "ray", ray)
    command = f"compare --engine ray --interventions none --steps 64 --out {tmp_path / 'new'}"
    assert main(command.split()) == 1
    assert capsys.readouterr().err == (
        "error: Ray does not start on this machine (timed out during startup): start it with "
        "ray start --head and give --address auto, or use --engine local\n"
    )
    assert main([*command.split(), "--address", "nowhere:6379"]) == 2
    assert capsys.readouterr().err == (
        "error: address 'nowhere:6379' is of no Ray cluster (timed out during startup): start one "
        "with ray start --head, or leave it out\n"
    )


def test_a_unit_has_room_where_one_node_has_all_that_it_needs(monkeypatch):
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0}},
        {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}},
        {"Alive": False, "Resources": {"CPU": 8.0, "GPU": 1.0}},
    ]
    ray = SimpleNamespace(
        init=lambda **_: None,
        is_initialized=lambda: True,
        nodes=lambda: nodes,
        remote=lambda **_: lambda task: task,
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    found = {need: RayEngine("", *need).has_room for need in ((8, 0), (2, 0.5), (8, 0.5), (9, 0))}
    assert found == {(8, 0): True, (2, 0.5): True, (8, 0.5): False, (9, 0): False}


def test_what_a_task_raises_is_its_reason(monkeypatch):
    class RayError(Exception):
        pass

    class RayTaskError(RayError):
        cause = RunError("cannot write runs/ppo-none/unit.log (Read-only file system)")

    ends = [3, RayTaskError("ray::_train()"), RayError("The worker died.\nSee the logs.")]

    def get(reference):
        if isinstance(ends[reference], Exception):
            raise ends[reference]
        return ends[reference]

    ray = SimpleNamespace(
        is_initialized=lambda: True,
        remote=lambda **_: lambda task: SimpleNamespace(remote=int),
        wait=lambda known, **_: (known, []),
        get=get,
        exceptions=SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    engine = RayEngine("", 1, 0)
    engine.submit([SimpleNamespace(to_json=lambda n=n: n) for n in range(3)])
    assert engine.ended() == [
        Outcome(0, 3),
        Outcome(1, 1, str(RayTaskError.cause)),
        Outcome(2, 1, "lost by Ray: The worker died."),
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_node_that_is_killed_costs_nothing(tmp_path, capsys, undrawn):
    """A head without cores of its own and two nodes; twelve units."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    assert main([*GRID.split(), "--out", str(tmp_path / "in-turn")]) == 0
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    beside = tmp_path / "beside"

    def kill_one():
        until = time.monotonic() + 300
        while len(list(beside.glob("*/unit.log"))) < 4 and time.monotonic() < until:
            time.sleep(0.1)
        cluster.remove_node(nodes[0], allow_graceful=False)

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        command = [*GRID.split(), "--engine", "ray", "--address", cluster.address]
        assert main([*command, "--out", str(beside)]) == 0
    finally:
        killer.join()
        cluster.shutdown()
    summaries = [(tmp_path / name / "summary.csv").read_bytes() for name in ("in-turn", "beside")]
    assert summaries[0] == summaries[1]
    assert len(list(beside.glob("*/checkpoint.pt"))) == 12
