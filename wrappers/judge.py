"""Looks at returns for the schedules that wait for them."""

from typing import Any

import torch

from neoteny.wrappers.irregular import OnReturn
from neoteny.wrappers.member_schedules import MemberSchedules


class Judge:
    """Sums the returns of episodes on the device and reads them when a schedule looks.

    An episode that a switch cut short does not count. Nothing is done, and nothing waits for the
    device, unless a schedule is an `OnReturn`; then the host waits once every `every` steps.

    Args:
        schedules: one a member.
        lanes: N.
        device: where rewards live; None for NumPy.
    """

    def __init__(self, schedules: MemberSchedules, lanes: int, device: torch.device | None) -> None:
        self.schedules, self.lanes = schedules, lanes
        shape = (len(schedules), lanes)
        self._running = torch.zeros(shape, dtype=torch.float64, device=device)
        self._sums = torch.zeros((2, len(schedules)), dtype=torch.float64, device=device)

    def look(self, reward: Any, done: Any, steps: int) -> MemberSchedules:
        """Count a step, and judge the members whose schedule looks now.

        Args:
            reward: (L,), or a number for a single environment.
            done: (L,) bool, episodes that ended by themselves.
            steps: environment steps of one member, this step included.

        Returns:
            The schedules, with the switches that were found due.
        """
        if not self.schedules.judged:
            return self.schedules
        ended = torch.as_tensor(done, device=self._running.device).reshape(self._running.shape)
        self._running += torch.as_tensor(reward, device=ended.device).reshape(ended.shape)
        self._sums[0] += (self._running * ended).sum(1)
        self._sums[1] += ended.sum(1)
        self._running.masked_fill_(ended, 0.0)
        looking = [
            isinstance(s, OnReturn) and steps // s.every > (steps - self.lanes) // s.every
            for s in self.schedules.members
        ]
        if any(looking):
            self._decide(looking, steps)
        return self.schedules

    def _decide(self, looking: list[bool], steps: int) -> None:
        totals, counts = self._sums.tolist()
        members = list(self.schedules.members)
        for member, schedule in enumerate(members):
            enough = isinstance(schedule, OnReturn) and counts[member] >= schedule.episodes
            if looking[member] and enough and isinstance(schedule, OnReturn):
                members[member] = schedule.judge(steps, totals[member] / counts[member])
                self._sums[:, member] = 0.0
        self.schedules = MemberSchedules(members)

    def forget(self, cut: Any) -> None:
        """Drop the returns of episodes (L,) that a switch cut short."""
        if self.schedules.judged:
            cut = torch.as_tensor(cut, device=self._running.device)
            self._running.masked_fill_(cut.reshape(self._running.shape), 0.0)

    def state_dict(self) -> dict[str, Any]:
        """A copy of the sums and of the switches so far."""
        members = self.schedules.members
        switches = [list(s.switches) if isinstance(s, OnReturn) else [] for s in members]
        sums = {"running": self._running.clone(), "sums": self._sums.clone()}
        return {**sums, "switches": switches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self._running.copy_(state["running"])
        self._sums.copy_(state["sums"])
        self.schedules = self.schedules.with_switches(state["switches"])
