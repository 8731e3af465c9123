"""C-CHAIN: the churn that it measures, the weight of its penalty, what it needs."""

import copy
import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from neoteny.plasticity.interventions import OptimizerSettings, make_interventions
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec
from neoteny.plasticity.sparse import encode

NO_OBS = torch.zeros(0)


def gradients(learner, obs=NO_OBS):
    """Gradients of the first intervention's penalty alone, None where it does not reach."""
    learner.optimizer.zero_grad()
    learner.interventions[0].loss(learner, obs).sum().backward()
    return {parameter: parameter.grad for parameter in learner.network.parameters()}


def square(learner, obs):
    return sum(output.square().mean((1, 2)) for output in learner.network(obs).values())


def distribution(kind, outputs):
    if kind == "ppo":
        return torch.distributions.Categorical(logits=outputs)
    mean, log_std = outputs.chunk(2, -1)
    return torch.distributions.Independent(torch.distributions.Normal(mean, log_std.exp()), 1)


@pytest.mark.parametrize("kind", ["ppo", "gaussian"])
def test_c_chain_measures_the_divergence_from_the_last_network_on_older_observations(
    kind, make_learner
):
    learner = make_learner("c_chain:weight=3,target=none", kind=kind)
    batches = torch.randn(6, 2, 16, 6, generator=torch.Generator().manual_seed(3))
    last = None
    for index, obs in enumerate(batches):
        penalty = learner.interventions[0].loss(learner, obs)
        if index >= 2:
            reference = batches[index - 2]
            old, new = last(reference)["policy"], learner.network(reference)["policy"]
            expected = torch.distributions.kl_divergence(
                distribution(kind, old), distribution(kind, new)
            ).mean(1)
            torch.testing.assert_close(penalty, 3 * expected, rtol=1e-3, atol=1e-6)
            assert (expected > 0).all()
        else:
            assert not isinstance(penalty, torch.Tensor)
        last = copy.deepcopy(learner.network)
        with pytest.MonkeyPatch.context() as patch:  # the update is not to ask again
            patch.setattr(learner.interventions[0], "loss", lambda *_: 0.0)
            learner.update(square(learner, obs), obs)


def test_c_chains_gradient_is_that_of_the_papers_cross_entropy(make_learner, train):
    learner = make_learner("c_chain:weight=3,target=none")
    train(learner, 3)
    state = dict(learner.interventions[0].state)
    ours = gradients(learner, torch.zeros(2, 4, 6))
    learner.optimizer.zero_grad(set_to_none=True)
    target = state["old"].softmax(-1)
    new = learner.network.branch("policy", state["reference"])
    cross_entropy = F.cross_entropy(new.flatten(0, 1), target.flatten(0, 1), reduction="none")
    (3 * cross_entropy.view(2, -1).mean(1)).sum().backward()
    for parameter in learner.network.branches["policy"].parameters():
        torch.testing.assert_close(ours[parameter], parameter.grad, rtol=1e-3, atol=1e-6)


def test_c_chain_lowers_the_churn(make_learner, train):
    obs = torch.randn(2, 64, 6, generator=torch.Generator().manual_seed(4))
    churn = {}
    for weight in (0, 1000):
        learner = make_learner(f"c_chain:weight={weight},target=none", kind="dqn")
        train(learner, 20)
        moves = []
        for start in range(20, 60):
            before = learner.network(obs)["q"].detach()
            train(learner, 1, start=start)
            moves.append((learner.network(obs)["q"] - before).square().mean((1, 2)).detach())
        churn[weight] = torch.stack(moves).mean(0)
    assert (churn[1000] < 0.8 * churn[0]).all()


def test_c_chains_weight_makes_the_penalty_the_target_times_the_loss(make_learner):
    """The running means, in NumPy, from the losses and divergences of each update."""
    learner = make_learner("c_chain:weight=3,target=0.2,half_life=4,after=5", kind="dqn")
    chain, losses, churns, penalties = learner.interventions[0], [], [], []
    state, own = chain.state, chain.loss
    chain.loss = lambda *arguments: penalties.append(own(*arguments)) or 0.0
    for step in range(25):
        obs = torch.randn(2, 16, 6, generator=torch.Generator().manual_seed(step))
        loss = square(learner, obs) * (-1 if step % 3 else 1)  # losses of policies change sign
        if step >= 2:
            moved = learner.network.branch("q", state["reference"]) - state["old"]
            churns.append(moved.square().mean((1, 2)).detach().numpy())
            losses.append(loss.detach().abs().numpy())
        learner.update(loss, obs)
        if step < 2:
            assert penalties[-1] == 0.0
            continue
        count = len(churns)
        decay = np.float64(0.5 ** (1 / 4))
        shares = [1.0]  # of each update in the means: plain means first, then exponential ones
        for n in range(2, count + 1):
            rate = max(1 / n, 1 - decay)
            shares = [share * (1 - rate) for share in shares] + [rate]
        mean_loss, mean_churn = (np.average(x, axis=0, weights=shares) for x in (losses, churns))
        weight = 0.2 * mean_loss / (mean_churn + 1e-8) if count > 5 else np.full(2, 3.0)
        np.testing.assert_allclose(chain.measured()["weight"], weight, rtol=1e-3)
        np.testing.assert_allclose(penalties[-1].detach(), weight * churns[-1], rtol=1e-3)
    assert weight[0] != weight[1]


def test_c_chains_weight_is_finite_and_positive_where_the_churn_is_round_off(make_learner):
    """Outputs that do not change have divergences of either sign, of some 1e-9."""
    learner = make_learner("c_chain:target=1,after=0,half_life=2", kind="dqn", lr=1e-12)
    for step in range(30):
        obs = torch.randn(2, 16, 6, generator=torch.Generator().manual_seed(step))
        learner.update(square(learner, obs), obs)
        weight = learner.interventions[0].measured()["weight"]
        assert (weight > 0).all()
        assert (weight <= learner.interventions[0].state["mean_loss"] / 1e-8 + 10).all()
    assert (learner.interventions[0].activity >= 0).all()


def test_c_chains_weight_has_no_feedback_where_the_policy_hardly_changes(make_learner):
    """Relative to the divergence alone it is 1e8 here; the paper's cross-entropy has a floor."""
    learner = make_learner("c_chain:target=0.5,after=0,half_life=2", lr=1e-12)
    for step in range(10):
        obs = torch.randn(2, 16, 6, generator=torch.Generator().manual_seed(step))
        learner.update(square(learner, obs), obs)
    state = learner.interventions[0].state
    # Heads of gain 0.01 make a policy of four actions that is all but uniform: ln 4 nats.
    expected = 0.5 * state["mean_loss"] / math.log(4)
    torch.testing.assert_close(state["weight"], expected, rtol=1e-3, atol=0.0)


def test_c_chain_compares_the_penalty_with_the_policys_own_loss(make_learner):
    """And not with the value function's, which is another branch's; unless it cannot be told."""
    obs = torch.randn(3, 2, 16, 6, generator=torch.Generator().manual_seed(1))
    for losses, expected in (
        ({"policy": torch.tensor([0.5, -2.0])}, [0.5, 2.0]),
        (None, [7.0] * 2),
    ):
        learner = make_learner("c_chain:target=1,after=0")
        for batch in obs:
            loss = square(learner, batch)
            learner.update(loss - loss.detach() + 7, batch, losses)
        assert learner.interventions[0].state["mean_loss"].tolist() == pytest.approx(expected)


def test_c_chain_forgets_its_means_at_switches_only_if_asked(make_learner, train):
    means = {}
    for restart in (False, True):
        learner = make_learner(f"c_chain:target=1,after=0,weight=3,restart={restart}")
        assert learner.interventions[0].needs_boundaries == restart
        train(learner, 10)
        learner.boundary(torch.ones(2))
        state = learner.interventions[0].state
        assert torch.equal(state["weight"], torch.full((2,), 3.0)) == restart
        train(learner, 1, start=10)
        means[restart] = state["mean_loss"].clone()
        if restart:
            torch.testing.assert_close(means[True], learner.losses["policy"])
    assert not torch.allclose(means[True], means[False])


def test_c_chain_needs_losses_to_be_relative_to():
    for text, refused in (("c_chain:target=1", True), ("c_chain", False)):
        context = pytest.raises(ValueError, match="target=none") if refused else nullcontext()
        with context:
            Learner(
                lambda spec, generators: Network(spec, (6,), {"q": HeadSpec(2)}, generators),
                NetworkSpec(hidden=(16,)),
                make_interventions([text]),
                OptimizerSettings(),
                [0],
                reports_losses=False,
            )


def test_c_chain_keeps_sparse_observations_as_it_keeps_dense_ones(make_learner):
    bits = torch.rand(4, 2, 16, 6, generator=torch.Generator().manual_seed(6)) < 0.3
    sparse, dense = make_learner("c_chain"), make_learner("c_chain")
    for obs in bits:
        for learner, inputs in ((sparse, encode(obs.flatten(0, 1), 2)), (dense, obs)):
            learner.update(square(learner, obs), inputs)
    for name, value in dense.interventions[0].state.items():
        torch.testing.assert_close(sparse.interventions[0].state[name], value)


def test_c_chain_needs_a_branch_whose_churn_is_defined():
    with pytest.raises(ValueError, match="c_chain compares"):
        Learner(
            lambda spec, generators: Network(spec, (6,), {"value": HeadSpec(1)}, generators),
            NetworkSpec(hidden=(16,)),
            make_interventions(["c_chain"]),
            OptimizerSettings(),
            [0],
        )
