"""Tasks of the probe: random labels, random smooth functions, and given targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from neoteny.core.errors import InputError


@dataclass(frozen=True)
class Task:
    """Targets of one branch, for all repeats."""

    targets: Tensor
    """(M, repeats, B, k) numbers, or (M, repeats, B) labels."""
    relative: bool
    """True if outputs count as differences from the clone's at the start."""


def make_tasks(
    outputs: Mapping[str, Tensor],
    inputs: Tensor,
    given: Mapping[str, Tensor],
    seed: int,
) -> dict[str, dict[str, Task]]:
    """Tasks by name and branch; each member and repeat has random targets of its own.

    Args:
        outputs: (M, 2 * repeats, B, k) of all clones by branch.
        inputs: (M, B, ...).
        given: targets (M, B, ...) by branch.
        seed: of the targets.
    """
    unknown = [branch for branch in given if branch not in outputs]
    if unknown:
        raise InputError(f"targets are for {', '.join(unknown)}: branches are {', '.join(outputs)}")
    generators = [torch.Generator().manual_seed(seed * 1009 + m) for m in range(len(inputs))]
    tasks: dict[str, dict[str, Task]] = {"labels": {}, "smooth": {}}
    for branch, example in outputs.items():
        members, clones, count, k = example.shape
        repeats = clones // 2
        labels = torch.stack(
            [torch.randint(0, max(k, 2), (repeats, count), generator=g) for g in generators]
        ).to(example.device)
        signs = (2 * labels - 1).unsqueeze(-1).to(example.dtype)
        tasks["labels"][branch] = Task(labels if k > 1 else signs, relative=True)
        smooth = [
            smooth_targets(x, k * repeats, g).view(count, repeats, k).transpose(0, 1)
            for x, g in zip(inputs, generators, strict=True)
        ]
        tasks["smooth"][branch] = Task(torch.stack(smooth).to(example.dtype), relative=True)
        if branch in given:
            own = given[branch]
            numbers = own.is_floating_point()
            if own.numel() != members * count * (k if numbers else 1):
                raise InputError(
                    f"targets of {branch} have the shape {tuple(own.shape[1:])}: give "
                    f"({count}, {k}) numbers or ({count},) integer labels"
                )
            if numbers:
                own = own.reshape(members, count, k).to(example.dtype)
            own = own.unsqueeze(1).expand(members, repeats, *own.shape[1:])
            tasks.setdefault("given", {})[branch] = Task(own, relative=False)
    return tasks


def smooth_targets(inputs: Tensor, outputs: int, generator: torch.Generator) -> Tensor:
    """Random smooth functions of the inputs: sums of cosines of random directions.

    Inputs are centred and scaled to unit mean square first, directions are normal, so that a
    function changes over about the distance between two inputs.

    Args:
        inputs: (B, ...).
        outputs: number k of functions.
        generator: on the CPU.

    Returns:
        (B, k) of mean 0 and variance 1 over the batch.

    Source: Rahimi and Recht, "Random features for large-scale kernel machines" (2007).
    """
    waves = 16  # cosines of each function
    x = inputs.flatten(1).to(torch.get_default_dtype())
    x = x - x.mean(0)
    x = x / x.norm(dim=1).square().mean().sqrt().clamp(min=torch.finfo(x.dtype).tiny)
    draws = (
        torch.randn(x.shape[1], waves * outputs, generator=generator),
        torch.rand(waves * outputs, generator=generator) * 2 * torch.pi,
        torch.randn(waves, outputs, generator=generator),
    )
    directions, phases, weights = (draw.to(x) for draw in draws)
    found = (torch.cos(x @ directions + phases).view(len(x), waves, outputs) * weights).sum(1)
    found = found - found.mean(0)
    return found / found.square().mean(0).sqrt().clamp(min=torch.finfo(x.dtype).tiny)


def task_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean loss (C,) of the outputs (C, B, k) of each clone.

    Cross-entropy to labels (C, B), squared error to numbers (C, B, k).
    """
    if targets.is_floating_point():
        return (outputs - targets).square().mean((1, 2))
    losses = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
    return losses.view_as(targets).mean(1)
