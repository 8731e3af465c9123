"""Environments stepped as tensors on one device, any other on the host, and their ids.

Importing this package registers the ids with Gymnasium too. There they are as Gymnasium's own:
`gymnasium.make_vec` gives vector environments of NumPy arrays that restart on the step after an
episode, so that its wrappers work, and `gymnasium.make` one lane as a single environment;
`max_episode_steps` changes the limit of steps, -1 lifts it, and environments that nobody seeds
begin differently. The option `numpy=False` gives what `make` gives: tensors.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import gymnasium
import torch
from gymnasium.vector import AutoresetMode

from neoteny.core.errors import InputError
from neoteny.core.names import hint
from neoteny.core.options import fit, fit_all, keywords
from neoteny.core.registry import Registry
from neoteny.envs.arguments import step_limit
from neoteny.envs.base import TensorEnv
from neoteny.envs.classic import PROBLEMS
from neoteny.envs.host import HostEnv
from neoteny.envs.host_single import host_ids, is_host_id
from neoteny.envs.minatar import GAMES
from neoteny.envs.minigrid import VARIANTS
from neoteny.envs.next_step import NextStep
from neoteny.envs.numpy_output import NumpyOutput
from neoteny.envs.one_lane import OneLane

NAMESPACE = "neoteny/"
ENVIRONMENTS: Registry[tuple[type[TensorEnv], dict[str, Any]]] = Registry("environment")
"""Ids of the environments on the device to their class and the options that the id fixes."""

#: Id without its version to the id that was registered first.
_FIRST: dict[str, str] = {}


def register(id: str, cls: type[TensorEnv], **defaults: Any) -> None:
    """Registers an environment class under an id, here and with Gymnasium.

    Args:
        id: name with namespace and version, such as "neoteny/MinAtar-Breakout-v0".
        cls: called as `cls(num_envs, members, device, seed, **options)`.
        **defaults: options that the id fixes; `max_steps` alone can still be changed, and is
            Gymnasium's `max_episode_steps`.
    """
    ENVIRONMENTS.add(id, (cls, defaults), origin=cls)
    _FIRST.setdefault(id.rpartition("-v")[0], id)
    gymnasium.register(
        id=id,
        entry_point=f"{__name__}:_one_for_gymnasium",
        vector_entry_point=f"{__name__}:_for_gymnasium",
        max_episode_steps=defaults.get("max_steps"),
        kwargs={"name": id},
    )


def _one_for_gymnasium(name: str, **options: Any) -> OneLane:
    env = _make_for_gymnasium(name, 1, options)
    if "max_steps" in ENVIRONMENTS[name][1]:
        env.max_steps = None  # Gymnasium puts its TimeLimit around
    return OneLane(env)


# Gymnasium reads it there, to show a window or collect frames by wrappers of its own.
vars(_one_for_gymnasium)["metadata"] = {"render_modes": ["rgb_array"]}


def _for_gymnasium(
    name: str,
    num_envs: int,
    numpy: bool = True,
    autoreset_mode: AutoresetMode | str | None = None,
    max_episode_steps: int | None = None,
    **options: Any,
) -> TensorEnv | NumpyOutput:
    """Entry point of `gymnasium.make_vec`.

    Args:
        name: the id.
        num_envs: lanes per member, N, as in `make`; without `members` all lanes.
        numpy: False gives the TensorEnv, tensors in and out.
        autoreset_mode: Gymnasium's AutoresetMode or its value, of arrays: NEXT_STEP, the default,
            or SAME_STEP, which returns `info["final_obs"]` and which tensors always have.
        max_episode_steps: limit of steps, -1 for none.
        **options: as `make` takes them.
    """
    same_step = _restarts_at_once(autoreset_mode, numpy)
    env = _make_for_gymnasium(name, num_envs, options, "autoreset_mode", "numpy")
    if max_episode_steps is not None:
        env.max_steps = step_limit(max_episode_steps, "max_episode_steps")
    if not numpy:
        return env
    return NumpyOutput(env if same_step else NextStep(env))


def _restarts_at_once(mode: AutoresetMode | str | None, numpy: bool) -> bool:
    """True for SAME_STEP, False for NEXT_STEP."""
    modes = (
        [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP] if numpy else [AutoresetMode.SAME_STEP]
    )
    if mode is None:
        return not numpy
    for known in modes:
        if mode in (known, known.value):
            return known is AutoresetMode.SAME_STEP
    wanted = " or ".join(repr(known.value) for known in modes)
    raise InputError(f"autoreset_mode is {mode!r}: with numpy={numpy} it is {wanted}")


def _make_for_gymnasium(name: str, num_envs: int, options: dict[str, Any], *more: str) -> TensorEnv:
    """Makes a device environment from Gymnasium's options, with a seed drawn anew by default."""
    if "max_steps" in options:
        raise InputError(
            f"max_steps={options['max_steps']}: Gymnasium calls it max_episode_steps; pass that"
        )
    common = ("device", "max_episode_steps", "members", "seed", *more)
    known = {*_options(name), *common} - {"max_steps"}
    if unknown := sorted(set(options) - known):
        raise InputError(f"{name} has no option {unknown[0]!r}: its options are {sorted(known)}")
    env = make(name, num_envs, **{"seed": None, "backend": "device"} | options)
    assert isinstance(env, TensorEnv)
    return env


def registered() -> list[str]:
    """Lists the ids that run on the device, sorted."""
    return sorted(ENVIRONMENTS)


def resolve(id: str) -> str:
    """Completes a short id.

    The namespace may be left out, and the version, which is then that registered first: "CartPole"
    means "neoteny/CartPole-v1". An id that only Gymnasium knows stays as it is.

    Raises:
        ValueError: if neither knows the id; it names the nearest ones.
    """
    full = id if id.startswith(NAMESPACE) else NAMESPACE + id
    if found := full if full in ENVIRONMENTS else _FIRST.get(full):
        return found
    if is_host_id(id):
        return id
    known = [name.removeprefix(NAMESPACE) for name in registered()] + host_ids()
    raise InputError(
        f"unknown environment {id!r}: {hint(full.removeprefix(NAMESPACE), known)}"
        " (neoteny.envs.registered() lists the ids on the device)"
    )


def make(
    id: str,
    num_envs: int,
    members: int = 1,
    device: torch.device | str = "cpu",
    seed: int | Sequence[int] | None = 0,
    *,
    backend: Literal["device", "host"] | None = None,
    **options: Any,
) -> TensorEnv | HostEnv:
    """Makes a batch of environments.

    Args:
        id: an id of `registered()`, or any id of Gymnasium; short forms as in `resolve`.
        num_envs: lanes per member, N, as in `gymnasium.make_vec`; the result has members * N
            lanes, member-major, which its attribute `num_envs` counts.
        members: number of members, M.
        device: where the environments live.
        seed: member m takes seed + m; or one seed per member; None draws them anew.
        backend: "device" steps tensors; "host" steps Gymnasium's environment of that id; by
            default the device for the ids of `registered()` and the host for others.
        **options: options of the environment, such as `sticky` or `max_steps`, or of `HostEnv`.

    Returns:
        The environments, not yet reset.

    Raises:
        ValueError: for an unknown id or option, or a value out of range.
    """
    full = resolve(id)
    backend = fit("backend", backend, Literal["device", "host"] | None)
    if backend == "host" or (backend is None and full not in ENVIRONMENTS):
        options = fit_all(options, keywords(HostEnv.__init__))
        own = {name: fit(name, value, Any) for name, value in options.items()}
        return HostEnv(full.removeprefix(NAMESPACE), num_envs, members, device, seed, **own)
    if full not in ENVIRONMENTS:
        raise InputError(f"{full} does not run on the device: pass backend='host'")
    cls, defaults = ENVIRONMENTS[full]
    hints = _options(full)
    if unknown := sorted(set(options) - set(hints)):
        raise InputError(f"{full} has no option {unknown[0]!r}: its options are {sorted(hints)}")
    build: Callable[..., TensorEnv] = cls
    return build(num_envs, members, device, seed, **defaults | fit_all(options, hints))


def _options(full: str) -> dict[str, Any]:
    """The options that an id on the device leaves open, name to type."""
    cls, defaults = ENVIRONMENTS[full]
    hints = keywords(*[vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base)])
    fixed = set(defaults) - {"max_steps"}
    return {name: hint for name, hint in hints.items() if name not in fixed}


for _name, _game in GAMES.items():
    register(f"{NAMESPACE}MinAtar-{_name}-v0", _game)
    register(f"{NAMESPACE}MinAtar-{_name}-v1", _game, minimal_actions=True)
for _name, (_problem, _limit) in PROBLEMS.items():
    register(NAMESPACE + _name, _problem, max_steps=_limit)
for _name, (_family, _fixed) in VARIANTS.items():
    register(NAMESPACE + _name, _family, **_fixed, max_steps=_family.limit(**_fixed))

__all__ = [
    "ENVIRONMENTS",
    "HostEnv",
    "NumpyOutput",
    "TensorEnv",
    "make",
    "register",
    "registered",
    "resolve",
]
