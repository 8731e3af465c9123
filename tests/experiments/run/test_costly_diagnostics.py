"""Diagnostics at task switches: in the first and last iteration of every task, on request."""

import pandas as pd
import pytest
import torch
from rich.console import Console

from neoteny.agents.ppo_loss import PPOConfig
from neoteny.core.errors import InputError
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.run.costly_diagnostics import PROBE, SAMPLES, CostlyDiagnostics
from neoteny.experiments.run.memory import COSTS
from neoteny.experiments.run.runner import run
from neoteny.plasticity import probe
from neoteny.plasticity.diagnostics import diagnose, kernel_drift, tangent_kernels
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
    found = CostlyDiagnostics(("activity", "kernel", "probe")).measure(
        network, batch, {}, begins=True
    )
    few = batch[:, :SAMPLES]
    expected = diagnose(network, few, ["activity", "kernel"]) | probe(network, few, **PROBE)
    assert found.keys() == {key for key in expected if not key.endswith("_noise")}
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key])


def two_networks():
    draws = [torch.Generator().manual_seed(seed) for seed in range(2)]
    heads = {"policy": HeadSpec(3), "value": HeadSpec(1)}
    return Network(NetworkSpec(hidden=(8, 8)), (5,), heads, draws)


def test_drift_is_since_the_last_task_began_on_the_same_observations():
    network, costly = two_networks(), CostlyDiagnostics(("kernel",))
    first, second = torch.randn(2, 2, 10, 5, generator=torch.Generator().manual_seed(0))
    at = "plasticity/policy/network/kernel_drift"
    assert at not in costly.measure(network, first, {}, begins=True)
    before = tangent_kernels(network, first)["policy"]
    with torch.no_grad():
        network.branches["policy"].hidden[0].weight[1] += 0.3
    now = tangent_kernels(network, first)["policy"]
    ended = costly.measure(network, second, {}, begins=False)[at]
    torch.testing.assert_close(ended, kernel_drift(before, now), atol=1e-5, rtol=1e-4)
    assert ended[0].abs().item() < 1e-5
    assert ended[1].item() > 1e-3
    copy = CostlyDiagnostics(("kernel",))
    copy.load_state_dict(costly.state_dict())
    for each in (costly, copy):  # the next task begins, and is the reference from then on
        torch.testing.assert_close(each.measure(network, second, {}, begins=True)[at], ended)
        again = each.measure(network, first, {}, begins=False)[at]
        torch.testing.assert_close(again, torch.zeros(2), atol=1e-5, rtol=0)


def test_alignment_is_with_the_targets_of_the_branches_that_have_some():
    network, batch = two_networks(), torch.randn(2, 10, 5)
    returns = torch.randn(2, 10, 1)
    found = CostlyDiagnostics(("kernel",)).measure(network, batch, {"value": returns}, begins=True)
    assert "plasticity/policy/network/kernel_alignment" not in found
    kernel = tangent_kernels(network, batch)["value"]
    inner = (returns.mT @ kernel @ returns).flatten()
    expected = inner / kernel.flatten(1).norm(dim=1) / returns.square().sum((1, 2))
    torch.testing.assert_close(found["plasticity/value/network/kernel_alignment"], expected)


@pytest.mark.slow
def test_runs_record_drift_and_alignment_and_resume_with_the_same_kernel(tmp_path):
    whole = config(tmp_path / "whole", diagnose_switches=("kernel",))
    run(whole, CONSOLE)
    for branch in ("policy", "value"):
        at = f"plasticity/{branch}/network/"
        assert measured(tmp_path / "whole", f"{at}kernel_drift") == [4, 5, 8, 9]
        assert measured(tmp_path / "whole", f"{at}kernel_alignment") == [1, 4, 5, 8, 9]
    run(config(tmp_path / "parts", steps=128 * 6, diagnose_switches=("kernel",)), CONSOLE)
    run(config(tmp_path / "parts", diagnose_switches=("kernel",)), CONSOLE, resume=True)
    first, second = (
        pd.read_csv(tmp_path / name / "seed_1/metrics.csv") for name in ("whole", "parts")
    )
    drift = "plasticity/value/network/kernel_drift"
    # A run that was to end there was measured at its end as well.
    assert measured(tmp_path / "parts", drift) == [4, 5, 6, 8, 9]
    assert second[drift][[3, 4, 7, 8]].tolist() == first[drift][[3, 4, 7, 8]].tolist()


def test_what_cannot_be_measured_is_refused(tmp_path):
    with pytest.raises(InputError, match="diagnose_every is 0: raise it"):
        config(tmp_path, diagnose_every=0, diagnose_switches=("kernel",))
    with pytest.raises(InputError, match="must be one of activity, jacobians, kernel, probe"):
        config(tmp_path, diagnose_switches=("kernels",))
    with pytest.raises(InputError, match="the agent's network is no module"):
        CostlyDiagnostics(("kernel",)).measure(object(), torch.zeros(1, 4, 2), {}, begins=True)
