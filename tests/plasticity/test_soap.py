"""SOAP: what it does in Adam's own basis, in a rotated one, and after resets."""

import numpy as np
import torch

from neoteny.plasticity.learner import reset_optimizer
from neoteny.plasticity.soap import SOAP


def run(optimizer, weight, gradients):
    """Weights after every step."""
    found = []
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
        found.append(weight.detach().clone())
    return found


def made(members=1, shape=(3, 5), **options):
    weight = torch.nn.Parameter(torch.zeros(members, *shape))
    groups = [{"params": [weight], "soap": True}]
    return weight, SOAP(groups, lr=0.1, member_dims=1, eps=1e-8, **options)


def some(count, members=1, shape=(3, 5), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(members, *shape, generator=generator) for _ in range(count)]


def test_steps_of_soap_follow_its_formulas_in_numpy():
    """Twelve steps with two refreshes: means, preconditioners, eigenbases, moments."""
    beta1, beta2, eps = 0.8, 0.9, 1e-8
    weight, optimizer = made(betas=(beta1, beta2), refresh=5)
    gradients = some(12)
    ours = run(optimizer, weight, gradients)
    w, m, v = np.zeros((3, 5)), np.zeros((3, 5)), np.zeros((3, 5))
    means = [np.zeros((3, 3)), np.zeros((5, 5))]
    bases = [np.eye(3), np.eye(5)]
    for t, gradient in enumerate(gradients, 1):
        g = gradient[0].double().numpy()
        p, q = bases
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * (p.T @ g @ q) ** 2
        direction = (p.T @ m @ q) / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
        w = w - 0.1 * p @ direction @ q.T
        np.testing.assert_allclose(ours[t - 1][0], w, rtol=1e-3, atol=1e-4)
        means = [
            beta2 * mean + (1 - beta2) * outer
            for mean, outer in zip(means, (g @ g.T, g.T @ g), strict=True)
        ]
        if t % 5:
            continue
        old, moves, levels = bases, [], []
        bases = []
        for mean, basis in zip(means, old, strict=True):
            damped = mean + 1e-3 * np.trace(mean) / len(mean) * np.eye(len(mean))
            new, _ = np.linalg.qr(damped @ basis)
            bases.append(new)
            moves.append((new.T @ basis) ** 2)
            levels.append(np.array([new[:, i] @ mean @ new[:, i] for i in range(len(mean))]))
        share = np.outer(moves[0].max(1), moves[1].max(1))
        carried = moves[0] @ v @ moves[1].T
        v = share * carried + (1 - share) * np.outer(*levels) / levels[0].sum()


def test_a_rotated_problem_is_stepped_alike_where_adam_is_not():
    """Once the bases are found, turning gradients turns the steps; Adam's change with the axes."""
    generator = torch.Generator().manual_seed(2)
    scale = torch.tensor([5.0, 1.0, 0.2])
    gradients = [
        (scale.unsqueeze(1) * torch.randn(3, 3, generator=generator)).unsqueeze(0)
        for _ in range(400)
    ]
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    turned = [turn @ gradient for gradient in gradients]
    moves = []
    for kind in ("soap", "adam"):
        ends = []
        for sequence in (gradients, turned):
            weight, optimizer = made(shape=(3, 3), betas=(0.9, 0.99), refresh=2)
            if kind == "adam":
                optimizer = torch.optim.Adam([weight], lr=0.1, betas=(0.9, 0.99))
            steps = run(optimizer, weight, sequence)
            ends.append(torch.stack(steps[-100:]) - steps[-101])
        change = ends[1] - turn @ ends[0]
        moves.append(float(change.norm() / ends[0].norm()))
    assert moves[0] < 0.3 * moves[1]


def test_a_reset_starts_it_as_a_new_one_and_members_are_apart():
    weight, optimizer = made(members=2, refresh=3)
    run(optimizer, weight, some(9, members=2))
    reset_optimizer(optimizer)
    start = weight.detach().clone()
    fresh, other = made(members=2, refresh=3)
    later = some(7, members=2, seed=5)
    ours, theirs = run(optimizer, weight, later), run(other, fresh, later)
    torch.testing.assert_close(ours[-1] - start, theirs[-1], rtol=1e-4, atol=1e-5)
    for member in range(2):
        single, alone = made(refresh=3)
        steps = run(alone, single, [gradient[member : member + 1] for gradient in later])
        torch.testing.assert_close(steps[-1][0], theirs[-1][member], rtol=1e-4, atol=1e-5)


def test_a_side_that_is_too_large_has_no_basis():
    weight, optimizer = made(shape=(3, 9), largest=4, refresh=2)
    run(optimizer, weight, some(6, shape=(3, 9)))
    state = optimizer.state[weight]
    assert "left_turn" in state
    assert "right_turn" not in state
    assert state["left_turn"].any()
