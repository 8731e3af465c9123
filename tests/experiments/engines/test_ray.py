"""Units as tasks of Ray: a node that is killed in the middle changes no number."""

import sys
import threading
import time

import pytest

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


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_node_that_is_killed_costs_nothing(tmp_path, capsys, undrawn):
    """A head without cores of its own and two nodes; twelve units."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    assert main([*GRID.split(), "--out", str(tmp_path / "in-turn")]) == 0
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
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
