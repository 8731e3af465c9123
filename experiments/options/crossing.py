"""Options that a comparison crosses, and the names of the arms that follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from neoteny.core.errors import InputError
from neoteny.core.names import hint
from neoteny.core.options import Text
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.options.option_rules import ALIASES

__all__ = ["CROSSED", "LABELLED", "VARIED", "arm_name", "names_of", "read_axes"]

CROSSED = {
    "activation": "activations",
    "bias": "biases",
    "torso": "torsos",
    "depth": "depths",
    "residual": "residuals",
}
"""Fields of a run to those of a comparison that list their values in the arms."""

VARIED = ("task_steps", "reset_optimizer")
"""Fields of a run that can be crossed beside those of the agent and the network."""


def names_of(part: Any) -> list[str]:
    """The fields of a dataclass."""
    return [field.name for field in dataclasses.fields(part)]


LABELLED = tuple(name for name in names_of(NetworkOptions()) if name != "hidden")
"""Options of the network whose values are in the names of arms anyway."""


def arm_name(
    agent: str, interventions: Iterable[str], network: Iterable[str], named: Mapping[str, Any]
) -> str:
    """Name a run after everything that distinguishes it from the default arm.

    Every intervention is in the name, with its settings, and so is what differs in the network,
    as in "ppo-adamo-groupsort-nobias-conv16x32-depth8-residual", and other options by their names,
    as in "ppo-adamo-lr0.0003".

    Args:
        agent: Name of the agent.
        interventions: With their settings.
        network: What differs in the network.
        named: Other options to their values.
    """
    joined = "+".join(interventions).replace(":", "-").replace(",", "-")
    return "-".join([agent, joined, *network, *(_named(*item) for item in named.items())])


def read_axes(
    texts: Sequence[str], owned: Mapping[str, Collection[str]], crossed: Collection[str]
) -> dict[str, list[Text]]:
    """The options that are varied, each with its values, which their fields will fit.

    Args:
        texts: As in `learning-rate=1e-4,3e-4`; of several widths, `hidden=64x64,256x256`.
        owned: Names of the options that may be varied, by what they belong to.
        crossed: Names of those that are crossed already.

    Raises:
        InputError: If a name is unknown or given twice, or there is no value.
    """
    axes: dict[str, list[Text]] = {}
    known = [name for names in owned.values() for name in sorted(names)]
    for text in texts:
        given, _, values = text.partition("=")
        name = given.strip().removeprefix("--").replace("-", "_")
        name = next((ours for ours in known if name in ALIASES.get(ours, ())), name)
        if name not in known:
            raise InputError(f"vary cannot cross {given!r}: {hint(name, known)}")
        if name in axes or name in crossed:
            raise InputError(f"{name} is crossed twice: give all its values at once")
        axes[name] = [
            Text(value.replace("x", ",") if name in owned["network"] else value)
            for value in values.split(",")
            if value
        ]
        if not axes[name]:
            raise InputError(f"vary {text!r} has no value: write {given}=1,2")
    return axes


def _named(name: str, value: Any) -> str:
    """An option in the name of a folder, such as `lr0.0003` or `hidden64x64`."""
    short = {"learning_rate": "lr"}.get(name, name.replace("_", ""))
    values = value if isinstance(value, tuple) else (value,)
    return short + "x".join(f"{one:g}" if isinstance(one, float) else str(one) for one in values)
