"""Diagnostics of a run that cost too much to be measured often."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from neoteny.core.errors import InputError
from neoteny.plasticity.diagnostics import (
    diagnose,
    kernel_alignment,
    kernel_drift,
    kernel_summary,
    tangent_kernels,
)
from neoteny.plasticity.probe import probe

__all__ = ["CostlyDiagnostics"]

SAMPLES = 64
"""Observations of a member."""
PROBE: dict[str, Any] = {"tasks": ("labels",), "steps": 50, "lr": 3e-3, "repeats": 2}
"""Arguments of the probe: random labels alone, in fewer and larger steps, for speed."""


class CostlyDiagnostics:
    """Groups of diagnostics at both ends of tasks, and the tangent kernel at the last switch.

    Args:
        groups: Some of `neoteny.plasticity.diagnostics.GROUPS`, and `probe`.
    """

    def __init__(self, groups: Collection[str]) -> None:
        self.groups = groups
        self._inputs: Tensor | None = None
        self._kernels: dict[str, Tensor] = {}

    def measure(
        self, network: Any, batch: Tensor, targets: Mapping[str, Tensor], *, begins: bool
    ) -> dict[str, Tensor]:
        """Measure an agent's network.

        Args:
            network: The agent's.
            batch: (M, B, ...) observations, of which the first `SAMPLES` are taken.
            targets: By branch, (M, B, k) for its k outputs, see `Agent.recent_targets`.
            begins: True in the first iteration of a task, whose kernel is kept for its drift.

        Returns:
            "plasticity/<branch>/<layer>/<name>" to (M,).

        Raises:
            InputError: If the network is no module, as those of other packages' agents may be.
        """
        if self.groups and not isinstance(network, nn.Module):
            raise InputError(
                f"diagnose_switches is {', '.join(self.groups)}, but the agent's network is no "
                "module that they could be measured on: leave it out"
            )
        batch = batch[:, :SAMPLES]
        found = diagnose(network, batch, [g for g in self.groups if g not in ("kernel", "probe")])
        if "kernel" in self.groups:
            found |= self._kernel(network, batch, targets, begins)
        if "probe" in self.groups:
            found |= probe(network, batch, **PROBE)
        return {key: value for key, value in found.items() if not key.endswith("_noise")}

    def _kernel(
        self, network: nn.Module, batch: Tensor, targets: Mapping[str, Tensor], begins: bool
    ) -> dict[str, Tensor]:
        """Spectrum, alignment with the targets, and drift since the last task began."""
        report: dict[str, Tensor] = {}
        kernels = tangent_kernels(network, batch)
        now = {} if self._inputs is None else tangent_kernels(network, self._inputs)
        for branch, kernel in kernels.items():
            found = kernel_summary(kernel)
            if branch in targets:
                found["kernel_alignment"] = kernel_alignment(kernel, targets[branch][:, :SAMPLES])
            if branch in now:
                found["kernel_drift"] = kernel_drift(self._kernels[branch], now[branch])
            report |= {f"plasticity/{branch}/network/{k}": v.float() for k, v in found.items()}
        if begins:
            self._inputs, self._kernels = batch.clone(), kernels
        return report

    def state_dict(self) -> dict[str, Any]:
        """The kernel at the last switch and its observations, which a resumed run needs."""
        return {"inputs": self._inputs, "kernels": self._kernels}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._inputs, self._kernels = state["inputs"], state["kernels"]
