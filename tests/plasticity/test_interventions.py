"""The conformance suite: what every registered intervention must satisfy."""

import copy
import io
from contextlib import nullcontext

import pytest
import torch
from host_calls import no_waits

from neoteny.plasticity.interventions import (
    INTERVENTIONS,
)

ALL = sorted(INTERVENTIONS)
# Settings under which one acts within a few updates; the others do so by default.
SOON = {
    "adam_rel": "period=2",
    "c_chain": "after=0,half_life=2",
    "continual_backprop": "lifetime=4,maturity=2",
    "dash": "minibatches=2",
    "hare_tortoise": "period=2",
    "head_reset": "period=2",
    "isometry_gate": "period=1,share=1",
    "layer_reset": "period=2",
    "newton_schulz": "period=2",
    "redo": "period=2,tau=0.5",
    "regrama": "period=2,tau=0.5",
    "snr": "period=2,longest=1",
    "soap": "refresh=2",
    "soft_shrink_perturb": "period=1,half_life=50",
    "swr": "period=1,lifetime=4",
    "trac": "initial_scale=1e-3",
    "weight_clipping": "kappa=0.5",
}
ZERO = {
    "adam": "beta1=0.9,beta2=0.999",
    "adamo": "isometry=0",
    "adamw": "weight_decay=0",
    "c_chain": "weight=0,target=none",
    **dict.fromkeys(("isometry_band", "isometry_budget", "isometry_gate"), "half_life=inf"),
    "isometry_loss": "weight=0",
    "keep_norm": "half_life=inf",
    "l2": "weight=0",
    "l2_er": "weight=0,decay=0",
    "l2_init": "weight=0",
    "parseval": "weight=0",
    "soft_reset": "rate=0",
    "spectral": "weight=0",
    "wasserstein_init": "weight=0",
    "weight_clipping": "kappa=inf",
}
REFUSED = {("snr", "groupsort"), ("snr", "crelu"), ("simba", "crelu")}
# Every algorithm's branches over both torsos; the other activations, and one body for all branches,
# where most can go wrong: in the network with two branches.
GRID = [(kind, torso) for kind in ("ppo", "dqn", "classifier") for torso in ("mlp", "conv")]
NETWORKS = [{"kind": kind, "torso": torso} for kind, torso in GRID]
VARIANTS = [{"activation": "groupsort"}, {"activation": "crelu", "torso": "conv"}]
VARIANTS += [{"shared": True}, {"shared": True, "torso": "conv"}]
NO_SKIPS = {"continual_backprop", "plasticity_injection", "redo", "regrama", "simba", "snr"}


def soon(name):
    return f"{name}:{SOON[name]}" if name in SOON else name


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def named_network(options):
    return "-".join(value if isinstance(value, str) else key for key, value in options.items())


over_names = pytest.mark.parametrize("name", ALL)


def over(names, networks=NETWORKS, first=0, each=1):
    """Every intervention on every network; by default a few networks each, and in all every one.

    Args:
        names: interventions.
        networks: options of `make_learner`.
        first: the first intervention's network; tests differ, so that together they cover more.
        each: networks of one intervention that are not slow.
    """
    usual = {
        (place, (first + place + shift * len(networks) // each) % len(networks))
        for place in range(len(names))
        for shift in range(each)
    }
    return pytest.mark.parametrize(
        ("name", "network"),
        [
            pytest.param(
                name,
                network,
                id=f"{name}-{named_network(network)}",
                marks=() if (place, number) in usual else pytest.mark.slow,
            )
            for place, name in enumerate(names)
            for number, network in enumerate(networks)
        ],
    )


@over(ALL, NETWORKS + VARIANTS)
def test_every_parameter_is_in_one_optimizer_group_and_moves_and_stays_the_same_tensor(
    name, network, make_learner, train, snapshot
):
    """Boundaries included, which those that need none ignore."""
    if (name, network.get("activation")) in REFUSED:
        with pytest.raises(ValueError, match=name):
            make_learner(name, **network)
        return
    learner = make_learner(soon(name), **network)
    grouped = [p for group in learner.optimizer.param_groups for p in group["params"]]
    trainable = [p for p in learner.network.parameters() if p.requires_grad]
    assert len(grouped) == len(trainable)
    assert {id(p) for p in grouped} == {id(p) for p in trainable}
    tensors = list(learner.network.parameters())
    before = snapshot(learner)
    train(learner, 3)
    between = snapshot(learner)
    learner.boundary(torch.ones(2))
    assert learner.interventions[0].needs_boundaries or same(between, snapshot(learner))
    after = snapshot(learner)
    train(learner, 2, start=3)  # one more than the last reset of those with a period of 2
    for first, then, old, new in zip(
        before, after, tensors, learner.network.parameters(), strict=True
    ):
        assert new is old
        assert new.isfinite().all()
        assert ((first != new) & (then != new)).flatten(1).any(1).all()


@over_names
def test_residual_networks_are_trained_or_refused_in_one_line(name, make_learner, train, snapshot):
    if name in NO_SKIPS:
        with pytest.raises(ValueError, match=f"(?s)^(?!.*\n).*{name}.*residual"):
            make_learner(name, residual=True)
        return
    learner = make_learner(soon(name), residual=True)
    learner.boundary(torch.ones(2))
    before = snapshot(learner)
    train(learner, 3)
    for old, new in zip(before, learner.network.parameters(), strict=True):
        assert new.isfinite().all()
        assert (old != new).flatten(1).any(1).all()


@over(sorted(ZERO))
def test_strength_zero_is_bit_identical_to_plain_adam(name, network, make_learner, train, snapshot):
    plain = make_learner("none", **network)
    off = make_learner(f"{name}:{ZERO[name]}", **network)
    for learner in (plain, off):
        train(learner, 3)
        learner.boundary(torch.ones(2))
    assert same(snapshot(plain), snapshot(off))


@over(ALL, first=1)
def test_state_survives_save_and_load(name, network, make_learner, train, snapshot):
    one, two = (make_learner(soon(name), **network) for _ in range(2))
    train(one, 3)
    one.boundary(torch.zeros(2))
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    two.load_state_dict(torch.load(file, weights_only=True))
    for learner in (one, two):
        train(learner, 1, start=3)
        learner.boundary(torch.ones(2))
        train(learner, 1, start=4)
    assert same(snapshot(one), snapshot(two))
    ours, theirs = (learner.interventions[0].state for learner in (one, two))
    assert ours.keys() == theirs.keys()
    assert same(ours.values(), theirs.values())


@over(ALL, first=3)
def test_the_second_of_two_members_equals_a_run_of_its_own(name, network, make_learner, train):
    both, alone = (make_learner(soon(name), seeds=seeds, **network) for seeds in ((3, 8), (8,)))
    for learner in (both, alone):
        train(learner, 2)
        learner.boundary(torch.zeros(learner.network.members))
        train(learner, 2, start=2)
    for ours, theirs in zip(both.network.parameters(), alone.network.parameters(), strict=True):
        torch.testing.assert_close(ours[1], theirs[0], rtol=1e-3, atol=1e-5)


@over(ALL, first=5)
def test_a_member_that_is_no_longer_finite_touches_no_other(name, network, make_learner, train):
    learners = [make_learner(soon(name), **network) for _ in range(2)]
    for spoilt, learner in enumerate(learners):
        train(learner, 2)
        if spoilt:
            with torch.no_grad():
                next(iter(learner.network.branches.values())).hidden[0].weight[0] = torch.nan
        train(learner, 1, start=2)
        learner.boundary(torch.zeros(2))
        train(learner, 1, start=3)
    fine, spoilt = learners
    assert spoilt.alive.tolist() == [False, True]
    for ours, theirs in zip(fine.network.parameters(), spoilt.network.parameters(), strict=True):
        torch.testing.assert_close(ours[1], theirs[1])
    assert torch.equal(fine.interventions[0].activity[1], spoilt.interventions[0].activity[1])


@over(ALL, NETWORKS[:2])  # branches add no operations
def test_an_update_never_makes_the_host_wait(name, network, make_learner, train, host_calls):
    learner = make_learner(name, **network)
    train(learner, 2)
    with host_calls() as calls:
        train(learner, 1, start=2)
    assert not calls.host


@pytest.mark.gpu
@pytest.mark.parametrize("torso", ["mlp", "conv"])
@pytest.mark.parametrize("name", [name for name in ALL if name != "l2_er"])  # eigenvalues wait
def test_on_a_device_an_update_never_makes_the_host_wait(name, torso, make_learner):
    learner = make_learner(name, torso=torso, device="cuda")
    obs = torch.randn(2, 32, *((6,) if torso == "mlp" else (4, 4, 2)), device="cuda")
    for update in range(5):
        with no_waits() if update > 2 else nullcontext():
            outputs = learner.network(obs).values()
            learner.update(sum(output.square().mean((1, 2)) for output in outputs), obs)


@over([name for name in ALL if INTERVENTIONS[name].metadata.preserves_function], each=2)
def test_a_preserved_function_is_preserved_to_the_last_bit(name, network, make_learner, train):
    learner = make_learner(soon(name), **network)
    train(learner, 2)
    target = copy.deepcopy(learner.network)
    learner.targets = [target]
    train(learner, 3, start=2)
    obs = torch.randn(2, 16, *((6,) if network["torso"] == "mlp" else (4, 4, 2)))
    before = [*learner.network(obs).values(), *target(obs).values()]
    learner.boundary(torch.ones(2))
    assert same(before, [*learner.network(obs).values(), *target(obs).values()])
    assert (learner.interventions[0].activity > 0).all()


# What moves where the loss has no gradient, from weights that are not the initial ones.
NOTHING, HIDDEN = frozenset(), {"hidden weight"}
LAYERS = {f"{layer} {part}" for layer in ("hidden", "head") for part in ("weight", "bias")}
EVERYTHING = LAYERS | {"norm"}
TOUCHED = {
    **dict.fromkeys(("adamo", "adamw", "muono", "scale_adamo", "l2", "parseval"), HIDDEN),
    **dict.fromkeys(("isometry_loss", "wasserstein_init", "fire", "newton_schulz"), HIDDEN),
    "keep_norm": HIDDEN,
    **dict.fromkeys(("isometry_band", "isometry_control"), HIDDEN),
    # Without a task's step there is no share of it, and no rank falls.
    **dict.fromkeys(("isometry_budget", "isometry_gate"), NOTHING),
    "spectral": {"hidden weight", "hidden bias"},
    "nap": {"hidden weight", "norm"},
    "head_reset": {"head weight", "head bias"},
    "weight_clipping": LAYERS,
    "dash": LAYERS,
    "redo": EVERYTHING - {"head bias"},
    "snr": EVERYTHING - {"head bias"},
    "swr": EVERYTHING - {"head weight", "head bias"},
    # Means of units move into the next biases.
    "continual_backprop": EVERYTHING,
    **dict.fromkeys(("fresh", "layer_reset", "shrink_perturb", "soft_shrink_perturb"), EVERYTHING),
    **dict.fromkeys(("hare_tortoise", "l2_init", "upgd"), EVERYTHING),
    # The rank of features behind a norm depends on all that is before the head.
    "l2_er": EVERYTHING - {"head weight", "head bias"},
    **dict.fromkeys(("none", "adam", "muon", "trac", "optimizer_reset", "adam_rel"), NOTHING),
    # Without a gradient, nothing drifts and no unit is judged.
    **dict.fromkeys(("soap", "soft_reset", "regrama"), NOTHING),
    **dict.fromkeys(("layer_norm", "crelu", "groupsort", "deep_fourier", "simba"), NOTHING),
}


def roles(network):
    """Each parameter of a network with what it is, but scales that an optimiser added."""
    for branch in network.branches.values():
        for layer in (*branch.hidden, branch.head):
            yield f"{layer.role} weight", layer.weight
            if layer.bias is not None:
                yield f"{layer.role} bias", layer.bias
        for norm in branch.body.norms:
            yield from (("norm", parameter) for parameter in norm.parameters())


@over(sorted(TOUCHED), NETWORKS[:2])
def test_without_a_gradient_only_the_roles_that_it_is_for_move(name, network, make_learner):
    norms = () if name in ("nap", "layer_norm", "simba") else ("layer_norm",)
    learner = make_learner(soon(name), *norms, **network)
    generator = torch.Generator().manual_seed(4)
    parameters = list(roles(learner.network))
    with torch.no_grad():
        for _, parameter in parameters:
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    before = [parameter.detach().clone() for _, parameter in parameters]
    obs = torch.randn(
        2, 32, *((6,) if network["torso"] == "mlp" else (4, 4, 2)), generator=generator
    )
    for update in range(5):
        if update == 2:
            learner.boundary(torch.ones(2))
        outputs = learner.network(obs).values()
        learner.update(sum(0 * output.sum((1, 2)) for output in outputs), obs)
    pairs = zip(parameters, before, strict=True)
    assert {role for (role, now), old in pairs if not torch.equal(now, old)} == TOUCHED[name]


@pytest.mark.parametrize("name", ALL)
def test_every_intervention_has_metadata_and_can_be_made(name, make_learner):
    cls = INTERVENTIONS[name]
    assert cls.metadata.paper != "-"
    assert cls.__doc__.splitlines()[0].endswith((".", ","))
    assert bool(cls.hooks) == (name != "none")
    make_learner(f"{name}:{cls.metadata.dqn}" if cls.metadata.dqn else name, kind="dqn")


def test_two_optimizers_are_refused_and_others_compose(make_learner, train):
    with pytest.raises(ValueError, match="given twice"):
        make_learner("adamo", "adamo:isometry=0.1")
    with pytest.raises(
        ValueError, match="adamw brings the optimiser, muon brings the optimiser; keep one"
    ):
        make_learner("adamw", "muon")
    learner = make_learner("layer_norm", "adamo", "l2_init", "trac", "optimizer_reset")
    train(learner, 2)
    learner.boundary(torch.ones(2))
    train(learner, 2, start=2)
    assert type(learner.optimizer).__name__ == "AdamO"
    assert len(list(learner.network.branches["policy"].body.norms[0].parameters())) == 2
