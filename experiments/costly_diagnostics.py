"""Diagnostics of a run that cost too much to be measured often."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor, nn

from neoteny.core.errors import InputError
from neoteny.plasticity.diagnostics import diagnose
from neoteny.plasticity.probe import probe

__all__ = ["measure_costly"]

SAMPLES = 64
"""Observations of a member."""
PROBE: dict[str, Any] = {"tasks": ("labels",), "steps": 50, "lr": 3e-3, "repeats": 2}
"""Arguments of the probe: random labels alone, in fewer and larger steps, for speed."""


def measure_costly(network: Any, batch: Tensor, groups: Collection[str]) -> dict[str, Tensor]:
    """Groups of diagnostics of an agent's network, and the probe.

    Args:
        network: The agent's.
        batch: (M, B, ...) observations, of which the first `SAMPLES` are taken.
        groups: Some of `neoteny.plasticity.diagnostics.GROUPS`, and `probe`.

    Returns:
        "plasticity/<branch>/<layer>/<name>" to (M,).

    Raises:
        InputError: If the network is no module, as those of other packages' agents may be.
    """
    if groups and not isinstance(network, nn.Module):
        raise InputError(
            f"diagnose_switches is {', '.join(groups)}, but the agent's network is no module that "
            "they could be measured on: leave it out"
        )
    batch = batch[:, :SAMPLES]
    found = diagnose(network, batch, [group for group in groups if group != "probe"])
    if "probe" in groups:
        found |= probe(network, batch, **PROBE)
    return {key: value for key, value in found.items() if not key.endswith("_noise")}
