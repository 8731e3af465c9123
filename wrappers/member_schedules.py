"""The schedules of all members of one process."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from neoteny.wrappers.schedule import RandomOrder, Schedule


class MemberSchedules:
    """One schedule a member.

    Args:
        schedules: M schedules, or one for all members.
        members: M, when one schedule is given.

    Raises:
        ValueError: there is no schedule.
    """

    def __init__(self, schedules: Schedule | Sequence[Schedule], members: int = 1) -> None:
        if isinstance(schedules, Schedule):
            schedules = [schedules] * members
        self.members = list(schedules)
        if not self.members:
            raise ValueError("schedules is empty; give one for each member")
        self._distinct = {schedule.timing: schedule for schedule in self.members}

    @staticmethod
    def random_order(
        period: int, tasks: int, seeds: Sequence[int], cycles: int = 128
    ) -> "MemberSchedules":
        """A random order a member, drawn from its own seed.

        Args:
            period: steps a task lasts.
            tasks: number of tasks.
            seeds: (M,) seeds.
            cycles: number of orders drawn for each.

        Returns:
            M schedules that switch together.
        """
        base = RandomOrder(period, tasks, cycles=cycles)
        return MemberSchedules([replace(base, seed=seed) for seed in seeds])

    def __len__(self) -> int:
        return len(self.members)

    def __repr__(self) -> str:
        return f"MemberSchedules({self.members})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MemberSchedules) and self.members == other.members

    def __hash__(self) -> int:
        return hash(tuple(self.members))

    @property
    def switch_together(self) -> bool:
        """Whether all members switch at the same steps."""
        return len(self._distinct) == 1

    def visits(self, step: int) -> list[int]:
        """(M,) number of switches of each member up to and including `step`."""
        return [schedule.visit(step) for schedule in self.members]

    def tasks(self, step: int) -> list[int]:
        """(M,) task of each member for the transition that starts at `step`."""
        return [schedule.task(step) for schedule in self.members]

    def next_boundary(self, step: int) -> int | None:
        """First switch of any member after `step`, or None."""
        found = [schedule.next_boundary(step) for schedule in self._distinct.values()]
        return min((boundary for boundary in found if boundary is not None), default=None)

    def boundaries(self, total: int) -> list[int]:
        """Ascending steps b, 0 < b < total, at which any member switches."""
        found = {b for schedule in self._distinct.values() for b in schedule.boundaries(total)}
        return sorted(found)

    def to_dict(self) -> dict[str, Any]:
        """A description made of JSON types, read back by `from_dict`."""
        return {"members": [schedule.to_dict() for schedule in self.members]}

    @staticmethod
    def from_dict(description: dict[str, Any]) -> "MemberSchedules":
        """Rebuild what `to_dict` described."""
        return MemberSchedules([Schedule.from_dict(d) for d in description["members"]])
