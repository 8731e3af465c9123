"""Diagnostics at task switches: in the first and last iteration of every task, on request."""

import pandas as pd
import pytest
import torch
from rich.console import Console

from neoteny.agents.ppo_loss import PPOConfig
from neoteny.core.errors import InputError
from neoteny.experiments.config import RunConfig
from neoteny.experiments.costly_diagnostics import PROBE, SAMPLES, measure_costly
from neoteny.experiments.memory import COSTS
from neoteny.experiments.network_options import NetworkOptions
from neoteny.experiments.runner import run
from neoteny.plasticity import probe
from neoteny.plasticity.diagnostics import diagnose
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec

TINY = PPOConfig(num_envs=16, num_steps=8, num_epochs=1, num_minibatches=2)  # 128 steps each
CONSOLE = Console(quiet=True)


def config(out, **changes):
    settings = {
        "seeds": 2,
        "steps": 128 * 9,
        "task_steps": 128 * 4,
        "hyper": TINY,
        "network": NetworkOptions(hidden=(8, 8)),
        "diagnose_every": 100,
        "out": out,
    }
    return RunConfig(**settings | changes)


def measured(folder, column):
    frame = pd.read_csv(folder / "seed_1/metrics.csv")
    return (frame.index[frame[column].notna()] + 1).tolist()


def test_both_ends_of_every_task_are_measured(tmp_path):
    run(config(tmp_path, diagnose_switches=("jacobians", "kernel")), CONSOLE)
    ends = [1, 4, 5, 8, 9]  # the third task has one iteration
    assert measured(tmp_path, "plasticity/policy/layer0/sigma_max") == ends
    assert measured(tmp_path, "plasticity/policy/layer1/jacobian_log_spread") == ends
    assert measured(tmp_path, "plasticity/value/network/kernel_condition") == ends


@pytest.mark.slow
def test_costly_ones_are_left_out_unless_asked_for_and_change_no_result(tmp_path):
    run(config(tmp_path / "plain", diagnose_every=3), CONSOLE)
    run(config(tmp_path / "probed", diagnose_every=3, diagnose_switches=("probe",)), CONSOLE)
    plain, probed = (
        pd.read_csv(tmp_path / name / "seed_0/metrics.csv").drop(columns=[*COSTS])
        for name in ("plain", "probed")
    )
    assert measured(tmp_path / "plain", "plasticity/policy/layer0/sigma_max") == [1, 4, 5, 7, 8, 9]
    assert measured(tmp_path / "probed", "plasticity/policy/network/probe_labels_area") == [
        *(1, 4, 5, 8, 9)
    ]
    assert not [name for name in plain if "jacobian" in name or "probe" in name]
    assert not [name for name in probed if "noise" in name or "smooth" in name]
    pd.testing.assert_frame_equal(probed[plain.columns], plain)


def test_they_are_those_of_the_first_observations():
    heads = {"q": HeadSpec(3)}
    draws = [torch.Generator().manual_seed(seed) for seed in range(2)]
    network = Network(NetworkSpec(hidden=(8, 8)), (5,), heads, draws)
    batch = torch.randn(2, 100, 5, generator=torch.Generator().manual_seed(0))
    found = measure_costly(network, batch, ("activity", "kernel", "probe"))
    few = batch[:, :SAMPLES]
    expected = diagnose(network, few, ["activity", "kernel"]) | probe(network, few, **PROBE)
    assert found.keys() == {key for key in expected if not key.endswith("_noise")}
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key])
    assert measure_costly(network, batch, ()) == {}


def test_what_cannot_be_measured_is_refused(tmp_path):
    with pytest.raises(InputError, match="diagnose_every is 0: raise it"):
        config(tmp_path, diagnose_every=0, diagnose_switches=("kernel",))
    with pytest.raises(InputError, match="must be one of activity, jacobians, kernel, probe"):
        config(tmp_path, diagnose_switches=("kernels",))
    with pytest.raises(InputError, match="the agent's network is no module"):
        measure_costly(object(), torch.zeros(1, 4, 2), ("kernel",))
