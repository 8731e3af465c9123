"""AdamO: Adam with a decoupled isometry step.

    theta <- theta - lr * m / (sqrt(v) + eps) - lr_iso * isometry * grad R(theta)

The moments see the task's gradient only. The isometry step is taken first, as AdamW takes its
decay, so that both terms are evaluated at the weights the gradient was computed at.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from operator import is_
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam
from torch.optim.adam import adam

from neoteny.core.errors import InputError
from neoteny.plasticity.adamo_checks import (
    check_settings,
    pull_settings,
    safe_strength,
    warn_of_bare,
)
from neoteny.plasticity.adamo_pull import Move, pull, stay, strength_of, together
from neoteny.plasticity.gram import Scale
from neoteny.plasticity.groups import named_groups

_CAPTURE_CHECK = "_accelerator_graph_capture_health_check"
if not hasattr(Adam, _CAPTURE_CHECK):  # torch < 2.10
    _CAPTURE_CHECK = "_cuda_graph_capture_health_check"

_ADAM_SETTINGS = (
    "lr",
    "eps",
    "weight_decay",
    "decoupled_weight_decay",
    "amsgrad",
    "maximize",
    "foreach",
    "fused",
    "capturable",
    "differentiable",
)
_OWN = ("isometry", "isometry_lr", "scale", "member_dims", "blocks")
"""Settings of a group beside Adam's."""
_NAMES = ("params", "param_names")
"""Keys of a group that are no settings."""

_CHECKED = (
    *("scale", "member_dims", "blocks"),
    *("lr", "betas", "eps", "weight_decay", "isometry", "isometry_lr"),
)
"""Settings that are checked again once another value was put in."""
_WEIGHED = slice(3)
"""The first of them, with which weights have to be looked at again."""


@dataclass
class _Checked:
    """Results of the checks of a group."""

    settings: list[Any]
    strength: float = 0.0
    """Strength of the isometry step up to which no weight grows without bound; see
    `safe_strength`."""


class AdamO(Adam):
    """Adam on the task's loss, with a decoupled step towards isometric weights.

    Every parameter with at least two dimensions beyond `member_dims` takes the isometry step; give
    groups with `isometry=0` (see `isometry_groups`) to leave heads, norms or embeddings out.
    Parameters that come with their names, as of `module.named_parameters()`, are split by them (see
    `named_groups`). An optimiser that is handed bare parameters cannot know which of them are heads
    and pulls them all, with a warning in the log: in Stable-Baselines3 leave `optimizer_class` as
    it is and use `neoteny.sb3.callbacks.IsometryCallback`. A parameter without a gradient is left
    alone, as AdamW leaves it without decay. With `isometry=0` the result is bit-identical to
    `torch.optim.Adam` with the same flags.

    Each singular value takes the step sigma <- sigma (1 - a (sigma^2 - scale)) with
    a = 4 * lr * isometry: see `effective_strength` and `half_life`. Every step looks at the
    settings again, whoever changed them (a schedule, a loaded state), and what cannot work is
    refused before any weight moves; a learning rate that is a tensor on an accelerator is not
    read, so that the host never waits: keep 4 * lr * isometry * scale below 1 there. Weights are
    looked at by the first step, and again when the strength has risen or a state was loaded: from a
    largest singular value sigma with a * (sigma^2 - scale) > 2 the step would make them larger
    without bound. With members, that is refused where it is true of all. Loading the
    state of a `torch.optim.Adam` takes over its flags and keeps the settings that are ours.

    Args:
        params: parameters, with or without their names, or groups of them with any of the settings
            below except `half_life`.
        lr: learning rate; a 1-element tensor works with `capturable` or `fused`, as in Adam.
        betas: decay rates of the two moments.
        eps: added to the root of the second moment.
        weight_decay: decay added to the gradient, as in Adam; with `decoupled_weight_decay` it acts
            as in AdamW. Both see the weights after the isometry step.
        isometry: penalty coefficient lambda; unset, 0.05, or what `half_life` asks for.
        isometry_lr: step size of the isometry step; None follows the group's current `lr`.
        half_life: updates in which a small deviation from isometry halves, in place of `isometry`,
            however `lr` is scheduled.
        scale: target squared singular value; with "free" the singular values of a weight are pulled
            towards their own mean, whatever it is, and no weight is too large.
        member_dims: number of leading member axes of every parameter in the group.
        blocks: number of maps that are stacked along the outputs of every parameter in the group,
            such as a convolution's groups; see `as_maps`.
        decoupled_weight_decay: take the decay out of the gradient.
        foreach: as in Adam; False also takes the isometry step one parameter at a time.
        fused: as in Adam.
        amsgrad: as in Adam.
        maximize: as in Adam; the isometry step goes the same way.
        capturable: as in Adam; with it no step reads a tensor on the host.
        differentiable: as in Adam, without an isometry step.

    Raises:
        ValueError: for a setting out of range, a * scale >= 1, which diverges, weights too large
            for the step or in half precision, in which it would be lost in rounding, and
            `differentiable` with an isometry step.

    Source: "Preserving Plasticity in Continual Learning via Dynamical Isometry", §4.4, Eqs. 19-20.
    """

    _step_supports_amp_scaling = False  # a GradScaler unscales, and leaves out steps, by itself

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        isometry: float | None = None,
        isometry_lr: float | None = None,
        scale: Scale = 1.0,
        member_dims: int = 0,
        blocks: int = 1,
        *,
        half_life: float | None = None,
        foreach: bool | None = None,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        amsgrad: bool = False,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        if foreach and fused:
            raise InputError("foreach and fused cannot both be True; choose one")
        if isinstance(params, torch.nn.Module):
            kind = type(params).__name__
            raise InputError(f"params is a {kind}: give isometry_groups(module)")
        params = list(params)
        if params and isinstance(params[0], tuple):
            params = named_groups(params, member_dims)
        isometry, isometry_lr = pull_settings(isometry, half_life, lr, isometry_lr, scale)
        self._checked: dict[int, _Checked] = {}
        own: Any = (isometry, isometry_lr, scale, member_dims, blocks)
        self._own = dict(zip(_OWN, own, strict=True))
        rates: Any = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        check_settings({**rates, **self._own})
        super().__init__(
            params,
            **rates,
            foreach=foreach,
            fused=fused,
            decoupled_weight_decay=decoupled_weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
        )
        self._step_supports_amp_scaling = False
        if params and isinstance(params[0], Tensor):
            warn_of_bare(self.param_groups[0])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Check a group's settings, then add it.

        Args:
            param_group: `params` and any settings that differ from the optimiser's.

        Raises:
            ValueError: for settings that cannot work; see the class.
        """
        if "half_life" in param_group:
            raise InputError(
                "half_life is no setting of a group: give isometry there, or half_life for all"
            )
        self.defaults.update(self.__dict__.pop("_own", {}))  # Adam's constructor has only its own
        check_settings({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._checked = {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state, also one of `torch.optim.Adam`.

        Args:
            state_dict: what `state_dict` returned; settings that a group of it lacks stay as they
                are here.
        """
        ours, theirs = self.param_groups, state_dict["param_groups"]
        if len(ours) == len(theirs):  # else torch says what is wrong
            kept = ({k: v for k, v in group.items() if k not in _NAMES} for group in ours)
            groups = [{**own, **saved} for own, saved in zip(kept, theirs, strict=True)]
            state_dict = {**state_dict, "param_groups": groups}
        super().load_state_dict(state_dict)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take the isometry step, then Adam's.

        Args:
            closure: re-evaluates the model and returns the loss, whose gradient is then used.

        Returns:
            The closure's loss, or None.

        Raises:
            ValueError: for settings that cannot work; no weight has moved then.
        """
        getattr(self, _CAPTURE_CHECK)()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for index, group in enumerate(self.param_groups):
            self._check(index, group)
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            moves = [self._prepare(group) for group in self.param_groups]
            pulls = [
                self._prepare_pull(index, group, params)
                for index, (group, (params, _)) in enumerate(
                    zip(self.param_groups, moves, strict=True)
                )
            ]
            for pull, (_, move) in zip(pulls, moves, strict=True):
                pull()
                move()
        return loss

    def require_stable(self) -> None:
        """Check the weights now instead of at the first step.

        Raises:
            ValueError: if a step would make a weight larger without bound.
        """
        for index, group in enumerate(self.param_groups):
            self._check(index, group)
            if group["isometry"]:
                self._look(index, group, strength_of(group, group["params"]))

    def _check(self, index: int, group: dict[str, Any]) -> None:
        """Refuse settings that were changed to invalid values."""
        settings = [group[name] for name in _CHECKED]
        checked = self._checked.get(index)
        if checked is not None and all(map(is_, settings, checked.settings)):
            return
        lr = group["lr"]
        unread = isinstance(lr, Tensor) and lr.device.type != "cpu"
        check_settings({**group, "lr": 0.0} if unread else group)
        strength = 0.0
        if checked is not None and all(map(is_, settings[_WEIGHED], checked.settings[_WEIGHED])):
            strength = checked.strength
        self._checked[index] = _Checked(settings, strength)

    def _look(self, index: int, group: dict[str, Any], strength: float | Tensor) -> None:
        """Refuse weights from which the isometry step diverges, as far as the host can see."""
        if isinstance(strength, Tensor):
            if strength.device.type != "cpu":
                return
            strength = strength.item()
        checked = self._checked[index]
        if strength <= checked.strength or torch.compiler.is_compiling():
            return
        weights = group["params"]
        recorded = any(w.is_cuda for w in weights) and torch.cuda.is_current_stream_capturing()
        if not recorded:
            shape = (group[name] for name in _CHECKED[_WEIGHED])
            checked.strength = safe_strength(weights, strength, *shape)

    def _prepare(self, group: dict[str, Any]) -> tuple[list[Tensor], Move]:
        """A group's parameters that have gradients, and Adam's step of them.

        What Adam refuses is refused here.
        """
        params: list[Tensor] = []
        rest: Any = [[], [], [], [], []]  # gradients, moments and counts
        has_complex = self._init_group(group, params, *rest)  # type: ignore[no-untyped-call]
        beta1, beta2 = group["betas"]
        settings: dict[str, Any] = {name: group[name] for name in _ADAM_SETTINGS}
        settings |= {"has_complex": has_complex, "beta1": beta1, "beta2": beta2}
        move = partial(adam, params, *rest, **settings)
        return params, move if params else stay

    def _prepare_pull(self, index: int, group: dict[str, Any], params: list[Tensor]) -> Move:
        """The isometry step of a group's parameters, after its checks."""
        if group["isometry"] == 0 or not params:
            return stay
        strength = strength_of(group, params)
        buckets = together(params, group)
        self._look(index, group, strength)
        return partial(pull, buckets, strength, group)
