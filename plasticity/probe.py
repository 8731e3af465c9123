"""The probe: clones of a network train on new tasks, beside clones of a fresh network.

It measures the ability to learn directly, where other diagnostics measure signs of it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor, nn

from neoteny.core.errors import InputError
from neoteny.plasticity.diagnostics.functional import (
    Forward,
    ModelFunction,
    check_batch,
    in_mode,
)
from neoteny.plasticity.networks import Network
from neoteny.plasticity.probe_tasks import Task, make_tasks, task_loss

State = dict[str, Tensor]

BETAS = (0.9, 0.999)
EPSILON = 1e-8

TASKS = ("labels", "smooth", "given")
"""Things that clones may learn."""

LEARNT = 0.01
"""Share of the first loss below which a task counts as learnt: ratios of less say nothing."""


def probe(
    model: nn.Module,
    batch: Tensor,
    *,
    targets: Mapping[str, Tensor] | None = None,
    fresh: Callable[[], nn.Module] | None = None,
    tasks: Collection[str] = TASKS,
    steps: int = 200,
    lr: float = 1e-3,
    repeats: int = 4,
    forward: Forward | None = None,
    members: bool = False,
    training: bool = True,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Train clones of a model and of fresh twins by Adam, and compare their losses.

    They learn, each from the whole batch: `labels`, random classes by cross-entropy, or random
    signs by squared error where a branch has one output; `smooth`, random smooth functions of the
    inputs by squared error; and `given` targets, such as the returns of the coming task. In the
    first two, outputs count from the clone's own at the start, so that every clone begins with the
    same loss (ln k, or 1) whatever it was trained on. The losses of all branches are added.

    Cost: steps forward and backward passes of the batch by 2 * repeats clones for each of the two
    or three things to learn, all in one batch; memory 4 times as many copies of the parameters. The
    model is left as it was.

    Args:
        model: `Network`, or any module.
        batch: (B, ...) inputs; (M, B, ...) for `Network` and with `members`.
        targets: by branch, numbers (B, k) or labels (B,) of integers; with the axis M if the batch
            has it.
        fresh: makes a model with new weights; by default a copy whose parts are reset by their own
            initialisers, see `fresh_twin`.
        tasks: some of `labels`, `smooth` and `given`; `given` is learnt where there are targets.
        steps: of Adam, with torch's defaults.
        lr: learning rate; one at which fresh networks learn well.
        repeats: clones with targets of their own, and as many fresh twins; at least 2.
        forward: as of `diagnose`.
        members: as of `diagnose`.
        training: use batch statistics in batch norms; their running ones stay as they are. Dropout
            is off.
        seed: of targets and fresh twins.

    Returns:
        "plasticity/<branch>/network/probe_<what>_<figure>" to (M,) float32. Figures: `final`, loss
        after the last step but at least 1 % of the first, and `area`, mean loss over all steps,
        each divided by the mean of the fresh twins: above 1 the network learns worse than they do.
        `final_noise` and `area_noise`: standard deviation from fresh twin to fresh twin, in the
        same units. The area is the steadier of the two.

    Raises:
        ValueError: for fewer than 2 repeats, unknown tasks or branches, or a model that cannot be
            made anew.

    Source: Lyle et al., "Understanding plasticity in neural networks" (2023), for random targets;
    Dohare et al., "Loss of plasticity in deep continual learning" (2024).
    """
    if repeats < 2 or steps < 1:
        raise InputError(f"repeats is {repeats} and steps {steps}: use at least 2 and 1")
    unknown = [task for task in tasks if task not in TASKS]
    if isinstance(tasks, str) or unknown:
        raise InputError(f"tasks is {tasks!r}: give some of {', '.join(TASKS)}")
    check_batch(batch)
    if isinstance(targets, Tensor):
        raise InputError("targets is a tensor: give one by branch, {'model': targets} if no other")
    function = ModelFunction(model, forward, members)
    function.trained("the probe")
    inputs, given = batch, dict(targets or {})
    if not function.members:
        inputs = batch.unsqueeze(0)
        given = {branch: value.unsqueeze(0) for branch, value in given.items()}
    twins = _twins(model, fresh, repeats, seed)
    with in_mode(model, training):
        clones = Training(function, inputs, twins, lr)
        report: dict[str, Tensor] = {}
        for what, targets_of in make_tasks(clones.start, inputs, given, seed).items():
            if what not in tasks:
                continue
            for branch, losses in clones.learn(targets_of, steps).items():
                key = f"plasticity/{branch}/network/probe_{what}"
                report |= {f"{key}_{name}": value for name, value in _figures(losses).items()}
    return report


def _figures(losses: Tensor) -> dict[str, Tensor]:
    """Ratios to fresh twins, and their noise, from losses (steps + 1, M, 2 * repeats)."""
    report = {}
    learnt = LEARNT * losses[0].chunk(2, 1)[1].mean(1, keepdim=True)
    for name, values in {"final": losses[-1].maximum(learnt), "area": losses.mean(0)}.items():
        own, twin = values.chunk(2, 1)
        centre = twin.mean(1)
        report[name] = (own.mean(1) / centre).float()
        report[f"{name}_noise"] = (twin.std(1) / centre).float()
    return report


@torch.no_grad()
def fresh_twin(model: nn.Module, seed: int) -> nn.Module:
    """A copy of a model with new weights, drawn by the initialisers of its own parts.

    Args:
        model: every part that holds parameters has `reset_parameters`, as torch's layers do.
        seed: of the weights.

    Raises:
        ValueError: if a part with parameters cannot be reset.
    """
    twin = copy.deepcopy(model)
    if isinstance(twin, Network):
        device = next(twin.parameters()).device
        draws = [torch.Generator(device).manual_seed(seed + m) for m in range(twin.members)]
        twin.reset_parameters(draws)
        return twin
    done: set[int] = set()
    for name, module in twin.named_modules():
        reset = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
        if reset is not None:
            reset()
            done.update(id(p) for p in module.parameters())
        missing = [n for n, p in module.named_parameters(recurse=False) if id(p) not in done]
        if missing:
            raise InputError(
                f"{type(module).__name__} {name!r} has {', '.join(missing)} but no "
                "reset_parameters: give fresh=, a function that makes a new model"
            )
    return twin


def _twins(
    model: nn.Module, fresh: Callable[[], nn.Module] | None, repeats: int, seed: int
) -> list[nn.Module]:
    """Fresh twins; the state of torch's global generators is restored."""
    twins = []
    devices = {p.device.index or 0 for p in model.parameters() if p.is_cuda}
    with torch.random.fork_rng(devices):
        for index in range(repeats):
            own = seed * 1_000_003 + index * 10_007
            torch.manual_seed(own)
            twins.append(fresh_twin(model, own) if fresh is None else fresh())
    return twins


def _stacked(states: list[State], axis: int) -> State:
    return {name: torch.stack([state[name] for state in states], axis) for name in states[0]}


class Training:
    """Clones of a model and of its fresh twins, (M * 2 * repeats, ...), that learn side by side."""

    def __init__(
        self, function: ModelFunction, inputs: Tensor, twins: list[nn.Module], lr: float
    ) -> None:
        self.function = function
        self.lr = lr
        models = [None] * len(twins) + twins
        self.shape = (len(inputs), len(models))
        self.parameters = {
            name: value.flatten(0, 1)
            for name, value in _stacked([function.parameters(m) for m in models], 1).items()
        }
        self.constants = {
            name: value.expand(len(inputs), *value.shape).flatten(0, 1)
            for name, value in _stacked([function.constants(m) for m in models], 0).items()
        }
        several = inputs.unsqueeze(1).expand(-1, len(models), *inputs.shape[1:])
        self.inputs = several.flatten(0, 1)
        with torch.no_grad():
            outputs = self._outputs(self.parameters)
        self.start = {branch: self._apart(value) for branch, value in outputs.items()}

    def _apart(self, values: Tensor) -> Tensor:
        """Reshape values of all clones (M * 2 * repeats, ...) to (M, 2 * repeats, ...)."""
        return torch.unflatten(values, 0, self.shape)

    def _outputs(self, parameters: State) -> State:
        """Outputs (M * 2 * repeats, B, k) of all clones."""
        return self.function.clones(parameters | self.constants, self.inputs)

    def learn(self, tasks: Mapping[str, Task], steps: int) -> dict[str, Tensor]:
        """Train from the start; the clones stay as they are.

        Args:
            tasks: by branch.
            steps: of Adam.

        Returns:
            Losses (steps + 1, M, 2 * repeats) by branch, before each step and after the last.
        """
        targets = {
            branch: torch.cat([task.targets, task.targets], 1).flatten(0, 1)
            for branch, task in tasks.items()
        }
        offsets = {
            branch: self.start[branch].flatten(0, 1) * task.relative
            for branch, task in tasks.items()
        }

        adam = _Adam(self.parameters, self.lr)
        curve: dict[str, list[Tensor]] = {branch: [] for branch in tasks}
        for step in range(steps + 1):
            outputs = self._outputs(adam.parameters)
            losses = {b: task_loss(outputs[b] - offsets[b], y) for b, y in targets.items()}
            for branch, value in losses.items():
                curve[branch].append(self._apart(value.detach()))
            if step < steps:
                adam.step(torch.stack(list(losses.values())).sum())
        return {branch: torch.stack(values) for branch, values in curve.items()}


class _Adam:
    """Adam as torch's, on any number of clones at once.

    Parameters of a type lie side by side in one tensor (C, P), of which those that the clones use
    are views, so that a step is a few operations however many they are.
    """

    def __init__(self, parameters: State, lr: float) -> None:
        self.lr = lr
        self.count = 0
        self.parameters: State = {}
        kinds: dict[torch.dtype, list[str]] = {}
        for name, value in parameters.items():
            kinds.setdefault(value.dtype, []).append(name)
        self._kinds = []
        for names in kinds.values():
            flat = torch.cat([parameters[name].flatten(1) for name in names], 1)
            parts = torch.split(flat, [parameters[name][0].numel() for name in names], 1)
            own = {
                name: part.view_as(parameters[name]).requires_grad_()
                for name, part in zip(names, parts, strict=True)
            }
            self.parameters |= own
            moments = torch.zeros_like(flat), torch.zeros_like(flat)
            self._kinds.append((flat, list(own.values()), *moments))

    def step(self, loss: Tensor) -> None:
        """Update the parameters, in place."""
        self.count += 1
        size = self.lr / (1 - BETAS[0] ** self.count)
        scale = (1 - BETAS[1] ** self.count) ** -0.5
        wanted = [value for _, values, _, _ in self._kinds for value in values]
        found = iter(torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True))
        for flat, values, first, second in self._kinds:
            gradient = torch.cat([next(found).flatten(1) for _ in values], 1)
            first.lerp_(gradient, 1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            flat.addcdiv_(first, second.sqrt().mul_(scale).add_(EPSILON), value=-size)
