"""AdamO: Adam with a decoupled isometry step.

    theta <- theta - lr * m / (sqrt(v) + eps) - lr_iso * isometry * grad R(theta)

The moments see the task's gradient only. The isometry step is taken first, as AdamW takes its
decay, so that both terms are evaluated at the weights the gradient was computed at.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adam import adam

from neoteny.core.errors import InputError
from neoteny.plasticity.isometry import effective_strength, isometry_step
from neoteny.plasticity.layers import IsoConv2d, IsoLinear

_PLAIN_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

# Stacking equal shapes saves kernel launches and costs a copy, which on CPU loses above this size.
_STACK_NUMEL = {"cpu": 1 << 15}
_STACK_NUMEL_DEFAULT = 1 << 20


@dataclass
class _Plan:
    """Which parameters of a group take their isometry step together, and for which parameters."""

    params: list[Tensor]
    member_dims: int
    foreach: bool | None
    buckets: list[list[Tensor]]

    def fits(self, params: list[Tensor], group: dict[str, Any]) -> bool:
        return (
            len(params) == len(self.params)
            and self.member_dims == group["member_dims"]
            and self.foreach == group["foreach"]
            and all(map(is_, params, self.params))
        )


class AdamO(Optimizer):
    """Adam on the task's loss, with a decoupled step towards isometric weights.

    Every parameter with at least two dimensions beyond `member_dims` takes the isometry step; give
    groups with `isometry=0` (see `isometry_groups`) to leave heads, norms or embeddings out. A
    parameter without a gradient is left alone, as AdamW leaves it without decay. With `isometry=0`
    the result is bit-identical to `torch.optim.Adam` with the same flags.

    Each singular value takes the step sigma <- sigma (1 - a (sigma^2 - scale)) with
    a = 4 * lr * isometry: see `effective_strength` and `half_life`.

    Args:
        params: parameters, or groups of them with any of the settings below.
        lr: learning rate; a 1-element tensor works with `capturable` or `fused`, as in Adam.
        betas: decay rates of the two moments.
        eps: added to the root of the second moment.
        weight_decay: decay added to the gradient, as in Adam; with `decoupled_weight_decay` it acts
            as in AdamW. Both see the weights after the isometry step.
        isometry: penalty coefficient lambda.
        isometry_lr: step size of the isometry step; None follows the group's current `lr`.
        scale: target squared singular value.
        member_dims: number of leading member axes of every parameter in the group.
        decoupled_weight_decay: take the decay out of the gradient.
        foreach: as in Adam; False also takes the isometry step one parameter at a time.
        fused: as in Adam.
        capturable: as in Adam; with it no step reads a tensor on the host.

    Raises:
        ValueError: for a negative setting, scale <= 0, or a * scale >= 1, which diverges.

    Source: "Preserving Plasticity in Continual Learning via Dynamical Isometry", §4.4, Eqs. 19-20.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        isometry: float = 1e-3,
        isometry_lr: float | None = None,
        scale: float = 1.0,
        member_dims: int = 0,
        *,
        decoupled_weight_decay: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        capturable: bool = False,
    ) -> None:
        if foreach and fused:
            raise InputError("foreach and fused cannot both be True; choose one")
        self._plans: dict[int, _Plan] = {}
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "isometry": isometry,
            "isometry_lr": isometry_lr,
            "scale": scale,
            "member_dims": member_dims,
            "decoupled_weight_decay": decoupled_weight_decay,
            "foreach": foreach,
            "fused": fused,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Check a group's settings, then add it.

        Args:
            param_group: `params` and any settings that differ from the optimiser's.

        Raises:
            ValueError: for settings that cannot work; see the class.
        """
        _check_settings({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._plans = {}
        # A checkpoint of torch.optim.Adam lacks the keys that are only ours.
        for group in self.param_groups:
            for key, value in self.defaults.items():
                group.setdefault(key, value)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take the isometry step, then Adam's.

        Args:
            closure: re-evaluates the model and returns the loss, whose gradient is then used.

        Returns:
            What the closure returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for index, group in enumerate(self.param_groups):
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            if group["isometry"] != 0:
                self._isometry_step(index, group, params)
            self._adam_step(group, params)
        return loss

    def _isometry_step(self, index: int, group: dict[str, Any], params: list[Tensor]) -> None:
        plan = self._plans.get(index)
        if plan is None or not plan.fits(params, group):
            plan = _Plan(
                params, group["member_dims"], group["foreach"], list(_buckets(params, group))
            )
            self._plans[index] = plan
        lr = group["lr"] if group["isometry_lr"] is None else group["isometry_lr"]
        strength = lr * (4.0 * group["isometry"])
        if isinstance(strength, Tensor):
            strength = strength.squeeze()
        for bucket in plan.buckets:
            isometry_step(bucket, strength, group["scale"], group["member_dims"])

    def _adam_step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        states = [self.state[p] or self._start_state(p, group) for p in params]
        beta1, beta2 = group["betas"]
        adam(
            params,
            [p.grad for p in params if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            foreach=group["foreach"],
            capturable=group["capturable"],
            fused=group["fused"],
            decoupled_weight_decay=group["decoupled_weight_decay"],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _start_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        # As in Adam: the step count stays on the host unless the kernels need it on the device.
        on_device = group["capturable"] or group["fused"]
        double = torch.get_default_dtype() == torch.float64 and not group["fused"]
        state: dict[str, Tensor] = self.state[param]
        state["step"] = torch.zeros(
            (),
            dtype=torch.float64 if double else torch.float32,
            device=param.device if on_device else "cpu",
        )
        state["exp_avg"] = torch.zeros_like(param)
        state["exp_avg_sq"] = torch.zeros_like(param)
        return state


def isometry_groups(
    module: nn.Module, exclude: Iterable[nn.Module | str] = ()
) -> list[dict[str, Any]]:
    """Split a module's trainable parameters into groups for `AdamO` by the role of their layer.

    Hidden weights are those of `IsoLinear` and `IsoConv2d` with role "hidden", and those of plain
    `nn.Linear` and `nn.Conv*d`, which declare no role: exclude output heads among them. Everything
    else (biases, norms, embeddings, heads, excluded modules) goes into one group with isometry 0. A
    weight shared between a hidden layer and anything else counts as excluded.

    Args:
        module: the network.
        exclude: modules, or their names in `module.named_modules()`; what they hold is left out.

    Returns:
        Parameter groups: hidden weights (one group per number of member axes, if any) without an
        `isometry` key, so that the optimiser's own holds; then the rest, if any, with isometry 0.

    Raises:
        ValueError: if `exclude` names something that is not in the module.
    """
    excluded = _excluded(module, exclude)
    hidden: dict[nn.Parameter, int] = {}
    rest: dict[nn.Parameter, None] = {}
    for layer in module.modules():
        member_dims = None if layer in excluded else _hidden_member_dims(layer)
        for name, param in layer.named_parameters(recurse=False):
            if not param.requires_grad:
                continue
            if name == "weight" and member_dims is not None:
                hidden[param] = member_dims
            else:
                rest[param] = None
    groups: list[dict[str, Any]] = []
    for member_dims in sorted(set(hidden.values())):
        params = [p for p, dims in hidden.items() if dims == member_dims and p not in rest]
        if params:
            groups.append({"params": params, "member_dims": member_dims})
    if rest:
        groups.append({"params": list(rest), "isometry": 0.0})
    return groups


def _hidden_member_dims(layer: nn.Module) -> int | None:
    """Member axes of a hidden layer's weight; None for every other module."""
    if isinstance(layer, IsoLinear | IsoConv2d):
        return (0 if layer.members is None else 1) if layer.role == "hidden" else None
    return 0 if isinstance(layer, _PLAIN_LAYERS) else None


def _excluded(module: nn.Module, exclude: Iterable[nn.Module | str]) -> set[nn.Module]:
    """The modules to leave out, with their descendants."""
    names = dict(module.named_modules())
    excluded: set[nn.Module] = set()
    for item in [exclude] if isinstance(exclude, nn.Module | str) else exclude:
        root = names.get(item) if isinstance(item, str) else item
        if root is None or root not in names.values():
            known = ", ".join(name for name in names if name)
            raise InputError(f"exclude names {item!r}, which is not in the module; it has {known}")
        excluded.update(root.modules())
    return excluded


def _buckets(params: list[Tensor], group: dict[str, Any]) -> Iterator[list[Tensor]]:
    """Lists of parameters whose isometry step is worth one batched product."""
    shapes: dict[Any, list[Tensor]] = {}
    for param in params:
        if param.dim() >= group["member_dims"] + 2:
            shapes.setdefault((param.shape, param.dtype, param.device), []).append(param)
    for (shape, _, device), bucket in shapes.items():
        limit = _STACK_NUMEL.get(device.type, _STACK_NUMEL_DEFAULT)
        if group["foreach"] is False or shape.numel() > limit:
            yield from ([param] for param in bucket)
        else:
            yield bucket


def _check_settings(settings: dict[str, Any]) -> None:
    """Raise ValueError for settings that cannot work, naming the value and the fix."""
    lr, isometry, scale = float(settings["lr"]), settings["isometry"], settings["scale"]
    isometry_lr = lr if settings["isometry_lr"] is None else settings["isometry_lr"]
    for name, value in (
        ("lr", lr),
        ("eps", settings["eps"]),
        ("weight_decay", settings["weight_decay"]),
        ("isometry", isometry),
        ("isometry_lr", isometry_lr),
        ("member_dims", settings["member_dims"]),
    ):
        if not 0 <= value < math.inf:
            raise InputError(f"{name}={value} is not a finite number >= 0; give one")
    if not 0 < scale < math.inf:
        raise InputError(f"scale={scale} is not a finite number > 0; give one, e.g. 1.0")
    if not all(0 <= beta < 1 for beta in settings["betas"]):
        raise InputError(f"betas={settings['betas']} are not in [0, 1); give e.g. (0.9, 0.999)")
    strength = effective_strength(isometry_lr, isometry)
    if strength * scale >= 1:
        raise InputError(
            f"4 * lr {isometry_lr:g} * isometry {isometry:g} * scale {scale:g} = "
            f"{strength * scale:g} >= 1: the isometry step diverges; "
            f"lower isometry below {1 / (4 * isometry_lr * scale):g}"
        )
