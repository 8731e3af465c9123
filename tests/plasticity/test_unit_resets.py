"""Resets of single units: who is replaced and when, against loops over units."""

import math

import pytest
import torch


def batch(step):
    """The observations that the fixture `train` uses at a step."""
    obs = torch.randn(32, 6, generator=torch.Generator().manual_seed(step))
    return obs.expand(2, -1, -1)


def named(learner):
    return {name: p.detach().clone() for name, p in learner.network.named_parameters()}


def dormant_by_hand(features, tau, fan=1, group=1):
    """The definition, unit by unit; a pair or group has one score, relative to the mean of all."""
    members, _, width = features.shape
    units = width // fan
    scores = torch.zeros(members, units)
    for member in range(members):
        for unit in range(units):
            alike = range(unit % (units // group), units, units // group)
            owned = [u + k * units for u in alike for k in range(fan)]
            scores[member, unit] = sum(features[member, :, f].abs().mean() for f in owned)
        scores[member] /= scores[member].mean()
    return scores <= tau


@pytest.mark.parametrize("activation", ["relu", "tanh", "crelu", "groupsort"])
def test_redo_recycles_the_units_that_a_loop_finds_dormant(activation, make_learner, train):
    learner = make_learner("redo:tau=0.8,period=4", activation=activation)
    train(learner, 3)
    seen = {}
    redo = learner.interventions[0]
    edit = redo.edit

    def watched(*arguments):
        seen.update(weights=named(learner), features=learner.network.features(batch(3)))
        edit(*arguments)
        seen.update(after=named(learner))

    redo.edit = watched
    train(learner, 1, start=3)
    activation = learner.network.spec.activation
    fan, group = {"crelu": (2, 1), "groupsort": (1, 2)}.get(activation, (1, 1))
    total = torch.zeros(2)
    for name, layers in seen["features"].items():
        for index, features in enumerate(layers):
            mask = dormant_by_hand(features.detach(), 0.8, fan, group)
            total += mask.sum(1)
            key = f"{name}.body.layers.{index}.weight"
            rows = (seen["after"][key] != seen["weights"][key]).any(2)
            columns = mask.repeat(1, fan).unsqueeze(1)
            # Recycled rows are drawn anew; in the others only columns of recycled inputs change.
            assert rows[mask].all()
            last = index == len(layers) - 1
            reader = f"{name}.head" if last else f"{name}.body.layers.{index + 1}"
            kept = torch.ones(())
            if not last:
                kept = ~dormant_by_hand(layers[index + 1].detach(), 0.8, fan, group).unsqueeze(2)
            outgoing = seen["after"][f"{reader}.weight"] * kept
            expected = seen["weights"][f"{reader}.weight"] * kept * ~columns
            assert torch.equal(outgoing, expected)
    assert total.min() > 0
    assert torch.equal(redo.activity, total)


def test_redo_at_tau_zero_takes_only_units_that_are_exactly_silent(make_learner, train):
    plain, killed = make_learner("redo:tau=0,period=3"), make_learner("redo:tau=0,period=3")
    layer = killed.network.branches["value"].hidden[0]
    for learner in (plain, killed):
        train(learner, 2)
        if learner is killed:
            with torch.no_grad():
                layer.bias[0, 5] = -1e3
        train(learner, 1, start=2)
    difference = killed.interventions[0].activity - plain.interventions[0].activity
    assert difference.tolist() == [1, 0]
    assert layer.bias[0, 5] == 0


@pytest.mark.parametrize("activation", ["relu", "crelu", "groupsort"])
def test_continual_backprop_replaces_what_the_budget_allows_of_the_least_useful(
    activation, make_learner, train
):
    """A loop over units against 20 updates: who, when, and the mean's fold."""
    text = "continual_backprop:lifetime=31,maturity=4,decay=0.8"
    learner = make_learner(text, activation=activation)
    fan, group = {"crelu": (2, 1), "groupsort": (1, 2)}.get(activation, (1, 1))
    cbp = learner.interventions[0]
    interval = cbp.interval(learner)
    assert interval == {"relu": 1, "crelu": 3, "groupsort": 3}[activation]
    cells = {"0": 16 // fan // group, "1": 8 // fan // group}
    keys = [(b, i) for b in ("policy", "value") for i in ("0", "1")]
    age = {k: torch.zeros(2, cells[k[1]]) for k in keys}
    utility = {k: torch.zeros(2, cells[k[1]]) for k in keys}
    budget = {k: torch.zeros(2) for k in keys}
    replaced, hook = torch.zeros(2), cbp.after_step

    def watched(*arguments):
        features, weights = learner.network.features(arguments[1]), named(learner)
        hook(*arguments)
        for branch, index in keys:
            h = features[branch][int(index)]
            last = index == "1"
            reader = weights[f"{branch}.head.weight" if last else f"{branch}.body.layers.1.weight"]
            for member in range(2):
                key, n = (branch, index), cells[index]
                for cell in range(n):
                    owned = range(cell, h.shape[2], n)
                    useful = sum(
                        h[member, :, f].abs().mean() * reader[member, :, f].abs().mean()
                        for f in owned
                    )
                    age[key][member, cell] += 1
                    utility[key][member, cell] *= 0.8
                    utility[key][member, cell] += 0.2 * useful
                if learner.updates % interval:
                    continue
                mature = [c for c in range(n) if age[key][member, c] > 4]
                budget[key][member] += interval * len(mature) / 31
                mature.sort(
                    key=lambda c: utility[key][member, c] / (1 - 0.8 ** age[key][member, c])
                )
                gone = mature[: int(budget[key][member])]
                budget[key][member] -= len(gone)
                replaced[member] += len(gone) * group
                for cell in gone:
                    age[key][member, cell] = utility[key][member, cell] = 0
                    columns = list(range(cell, h.shape[2], n))
                    after = learner.network.branches[branch]
                    read = after.head if last else after.hidden[1]
                    # Units of the next layer that are new themselves have fresh weights there.
                    old = torch.ones(1) if last else cbp.state[f"{branch}/1/age"][member]
                    assert not (read.weight[member][:, columns] * (old > 0).unsqueeze(1)).any()
            ours = cbp.state[f"{branch}/{index}/age"][:, : cells[index]]
            assert torch.equal(ours, age[branch, index])

    cbp.after_step = watched
    train(learner, 20)
    assert replaced.min() > 5
    assert torch.equal(cbp.activity, replaced)


def test_continual_backprop_keeps_the_mean_that_a_unit_fed_forward(make_learner, train):
    learner = make_learner("continual_backprop:lifetime=6,maturity=3,decay=0")
    train(learner, 3)
    cbp, hook, seen = learner.interventions[0], learner.interventions[0].after_step, {}

    def watched(*arguments):
        seen["before"] = learner.network.preactivations(arguments[1])["value"][1].mean(1)
        seen["biases"] = learner.network.branches["value"].hidden[1].bias.clone()
        hook(*arguments)

    cbp.after_step = watched
    train(learner, 1, start=3)
    # decay=0 makes the running mean this minibatch's; new units of layer 1 have bias 0 instead.
    after = learner.network.preactivations(batch(3))["value"][1].mean(1)
    kept = learner.network.branches["value"].hidden[1].bias != 0
    assert (learner.network.branches["value"].hidden[1].bias != seen["biases"]).any()
    torch.testing.assert_close(after[kept], seen["before"][kept], rtol=1e-4, atol=1e-5)


def test_continual_backprop_never_uses_a_row_twice_and_never_asks_the_host(
    host_calls, make_learner, train
):
    learner = make_learner("continual_backprop:lifetime=1,maturity=3")
    rows, watched = [], learner.network.branches["policy"].hidden[1].weight
    for step in range(30):
        if learner.updates % 3 == 2 or learner.updates < 4:
            train(learner, 1, start=step)
        else:
            with host_calls() as calls:
                train(learner, 1, start=step)
            assert not calls.host
        new = learner.interventions[0].state["policy/1/age"] == 0
        rows += list(watched.detach()[new])
    drawn = torch.stack(rows)
    assert len(drawn) > 30
    assert len(drawn.unique(dim=0)) == len(drawn)


def test_new_units_are_not_touched_by_the_gradients_of_the_old_ones(make_learner, train):
    """Others re-initialise inside backward, so that the optimiser's step hits the fresh weights."""
    learner = make_learner("continual_backprop:lifetime=2,maturity=2")
    train(learner, 3)
    cbp = learner.interventions[0]
    assert (cbp.activity > 0).all()
    for branch, network in learner.network.branches.items():
        new = cbp.state[f"{branch}/1/age"] == 0
        assert new.any()
        assert not network.head.weight.mT[new].any()
        assert torch.equal(network.hidden[1].weight[new], cbp.state[f"{branch}/1/next"][new])
        for parameter in (network.hidden[1].weight, network.hidden[1].bias):
            assert not learner.optimizer.state[parameter]["exp_avg_sq"][new].any()


def silences_by_hand(fired, rejection, bins):
    """Estimated p-values after a sequence of firings (T, units), unit by unit."""
    values = []
    for unit in range(fired.shape[1]):
        gaps, silence = [], 0
        for fires in fired[:, unit].tolist():
            if fires:
                gaps.append(silence + 1)
            silence = 0 if fires else silence + 1
        octave = int(math.log2(silence + 1) * 2 + 1e-9)
        longer = sum(int(math.log2(gap) * 2 + 1e-9) >= octave for gap in gaps)
        values.append((1 + longer) / (1 + len(gaps)))
    return torch.tensor(values)


def test_snr_counts_gaps_and_estimates_how_rare_a_silence_is(make_learner):
    learner = make_learner("snr:period=1e6,memory=1e9")
    snr = learner.interventions[0]
    rates = torch.linspace(0.02, 1.0, 16)
    fired = torch.rand(300, 16, generator=torch.Generator().manual_seed(0)) < rates
    for step in range(300):
        h = fired[step].float().expand(2, 5, 16)
        layers = [h, h[..., :8]]
        learner.network.features = lambda obs, h=layers: {"policy": h, "value": h}
        learner.updates += 1
        snr.after_step(learner, h)
    silence, gaps = snr.state["policy/0/silence"], snr.state["policy/0/gaps"]
    p = snr.p_value(silence, gaps)
    torch.testing.assert_close(p[0], silences_by_hand(fired, 0.02, snr.bins), rtol=1e-3, atol=0)
    assert torch.equal(p[0], p[1])


def test_snr_resets_a_unit_that_falls_silent_against_its_habit_and_no_other(make_learner, train):
    learner = make_learner("snr:period=10,rejection=0.05")
    train(learner, 59)
    snr = learner.interventions[0]
    learner.state_before = snr.activity.clone()
    layer = learner.network.branches["policy"].hidden[0]
    assert snr.state["policy/0/silence"][0, 2] == 0
    with torch.no_grad():
        layer.bias[0, 2] = -1e3
    train(learner, 1, start=59)
    changed = snr.activity - learner.state_before
    assert changed[0] == 1
    assert layer.bias[0, 2] == 0
    assert not snr.state["policy/0/gaps"][0, 2].any()
    assert snr.state["policy/0/gaps"][1, 2].any()


def test_units_that_fall_silent_are_required(make_learner):
    for name in ("tanh", "groupsort", "crelu"):
        with pytest.raises(ValueError, match="use relu"):
            make_learner("snr", activation=name)


@pytest.mark.parametrize("text", ["continual_backprop:samples=8", "snr:samples=8"])
def test_statistics_take_the_first_samples_of_binary_observations_too(text, make_learner):
    """Minibatches of binary observations come as lists of their ones."""
    lists, dense = make_learner(text), make_learner(text)
    for step in range(3):
        obs = torch.rand(2, 32, 6, generator=torch.Generator().manual_seed(step)) < 0.3
        for learner, batch in ((lists, lists.network.inputs(obs)), (dense, obs.float())):
            loss = sum(out.square().mean((1, 2)) for out in learner.network(batch).values())
            learner.update(loss, batch)
    for key, value in lists.interventions[0].state.items():
        torch.testing.assert_close(value, dense.interventions[0].state[key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "tanh", "crelu", "groupsort", "deep_fourier"])
def test_regrama_recycles_the_units_whose_incoming_gradients_a_loop_finds_small(
    activation, make_learner, train
):
    learner = make_learner("regrama:tau=0.7,period=4", activation=activation)
    train(learner, 3)
    seen, regrama = {}, learner.interventions[0]
    edit = regrama.edit

    def watched(*arguments):
        seen.update(named(learner))
        edit(*arguments)

    regrama.edit = watched
    train(learner, 1, start=3)
    group, total = 2 if activation == "groupsort" else 1, torch.zeros(2)
    for name, branch in learner.network.branches.items():
        for index, layer in enumerate(branch.hidden):
            units = layer.weight.shape[1]
            recycled = torch.zeros(2, units, dtype=torch.bool)
            for member in range(2):
                rows = [float(row.abs().mean()) for row in layer.weight.grad[member]]
                tied = [range(u % (units // group), units, units // group) for u in range(units)]
                scores = [sum(rows[u] for u in alike) / group for alike in tied]
                least = 0.7 * sum(scores) / units
                recycled[member] = torch.tensor([score <= least for score in scores])
            rows = (layer.weight != seen[f"{name}.body.layers.{index}.weight"]).any(2)
            assert rows[recycled].all()
            assert (layer.bias[recycled] == 0).all()
            total += recycled.sum(1)
    assert total.min() > 0
    assert torch.equal(regrama.activity, total)


def test_regrama_finds_a_unit_without_gradient_and_leaves_a_layer_without_any_alone(
    make_learner, train
):
    learner = make_learner("regrama:tau=0,period=2", activation="groupsort")
    train(learner, 1)
    value = learner.network.branches["value"]
    with torch.no_grad():
        value.head.weight[0, :, [1, 5]] = 0.0  # a group that nothing reads
    obs = torch.randn(2, 32, 6, generator=torch.Generator().manual_seed(0))
    learner.update(learner.network(obs)["value"].square().mean((1, 2)), obs)  # none for the policy
    assert learner.interventions[0].activity.tolist() == [2, 0]
    assert (value.hidden[1].bias[0, [1, 5]] == 0).all()
