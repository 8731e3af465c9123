"""Effects of interventions on the log standard deviations of a Gaussian policy."""

import pytest
import torch

from neoteny.plasticity.interventions import INTERVENTIONS
from neoteny.plasticity.surgery import assign

# Settings under which one acts within a few updates, with all its strength.
SOON = {
    "adam_rel": "period=2",
    "adamo": "isometry=0.5",
    "adamw": "weight_decay=1,heads=true",
    "dash": "minibatches=2",
    "l2": "weight=1,everything=true",
    "l2_init": "weight=1",
    "newton_schulz": "period=2",
    "redo": "period=2,tau=0.5",
    "regrama": "period=2,tau=0.5",
    "snr": "period=2,longest=1",
    "swr": "period=1,lifetime=4,heads=true",
    "soft_reset": "rate=0.1",
    "trac": "initial_scale=1e-3",
    "upgd": "sigma=1,decay=1",
    "weight_clipping": "kappa=0.1",
}
RESETTING = {
    "fresh": "",
    "head_reset": "period=2",
    "layer_reset": "period=2",
    "shrink_perturb": "shrink=0.5,perturb=0.5",
    "soft_shrink_perturb": "period=1,half_life=2e-9tasks,noise=1",
}
# One penalises changes of the distribution as a whole, the other averages all that is learnt.
MEANT = {"c_chain", "hare_tortoise"}


@pytest.fixture
def make(make_learner):
    """Builds a learner of a Gaussian policy with an intervention."""

    def build(name, settings=""):
        return make_learner(f"{name}:{settings}" if settings else name, kind="gaussian")

    return build


def log_std(learner):
    return learner.network.branches["policy"].log_std


def train(learner, updates, spread=False):
    """Fit means and values; the standard deviations too, if asked."""
    for step in range(updates):
        obs = torch.randn(2, 32, 6, generator=torch.Generator().manual_seed(step))
        outputs = learner.network(obs)
        mean, deviation = outputs["policy"].chunk(2, -1)
        loss = (mean - obs[..., :2].sin()).square().mean((1, 2))
        loss = loss + (outputs["value"] - obs[..., :1].sin()).square().mean((1, 2))
        if spread:
            loss = loss + (deviation + 1).square().mean((1, 2))
        learner.update(loss, obs)


@pytest.mark.parametrize("name", sorted(set(INTERVENTIONS) - set(RESETTING) - MEANT))
def test_log_standard_deviations_move_by_the_loss_alone(name, make):
    learner = make(name, SOON.get(name, ""))
    grouped = [p for group in learner.optimizer.param_groups for p in group["params"]]
    assert sum(p is log_std(learner) for p in grouped) == 1
    assign(learner, log_std(learner), -1.3)
    train(learner, 3)
    learner.boundary(torch.ones(2, dtype=torch.int64))
    train(learner, 2)
    torch.testing.assert_close(log_std(learner).detach(), torch.full((2, 2), -1.3))
    train(learner, 2, spread=True)
    assert (log_std(learner) != -1.3).all()
    assert learner.network.weights() == [
        p for p in learner.network.parameters() if p is not log_std(learner)
    ]


@pytest.mark.parametrize("name", sorted(RESETTING))
def test_resets_restore_log_standard_deviations_without_noise(name, make):
    learner = make(name, RESETTING[name])
    assign(learner, log_std(learner), -1.75)
    train(learner, 2)
    if learner.interventions[0].needs_boundaries:
        learner.boundary(torch.ones(2, dtype=torch.int64))
    expected = -0.75 if name == "shrink_perturb" else 0.25  # halfway, or all the way
    torch.testing.assert_close(log_std(learner).detach(), torch.full((2, 2), expected))


def test_log_standard_deviations_begin_alike_and_are_each_members_own(make):
    learner = make("none")
    assert (log_std(learner) == 0.25).all()
    with torch.no_grad():
        log_std(learner)[1] = 0.5
    obs = torch.randn(1, 4, 6).expand(2, -1, -1)
    outputs = learner.network.branch("policy", obs)
    assert outputs.shape == (2, 4, 4)
    assert outputs[..., 2:].unique(dim=1).squeeze(1).tolist() == [[0.25] * 2, [0.5] * 2]
    outputs[0].sum().backward()
    assert log_std(learner).grad.tolist() == [[4.0, 4.0], [0.0, 0.0]]
