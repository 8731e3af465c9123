"""The schedules of all members of one process, and the returns that some of them wait for."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.wrappers.aliases import Description, State
from neoteny.wrappers.arrays import Array, Table, Value
from neoteny.wrappers.schedules import RandomOrder, Schedule, Waits


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
            raise InputError("schedules is empty; give one for each member")
        self._distinct = {schedule.timing: schedule for schedule in self.members}
        if len({schedule.gradual for schedule in self.members}) > 1:
            raise InputError(f"{self}: either all members drift or none does")

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
    def distinct(self) -> list[Schedule]:
        """The schedules of all members, each that is alike once."""
        return list(dict.fromkeys(self.members))

    @property
    def switch_together(self) -> bool:
        """True if all lanes of all members switch at the same steps, known beforehand."""
        return len(self._distinct) == 1 and not self.delayed and not self.waits

    @property
    def gradual(self) -> bool:
        """True if the tasks change gradually, by `phases`, instead of switching."""
        return self.members[0].gradual

    @property
    def delayed(self) -> bool:
        """True if the lanes of a member switch one after another."""
        return any(schedule.delays(1) is not None for schedule in self.members)

    @property
    def waits(self) -> bool:
        """True if switches wait for returns."""
        return any(isinstance(schedule, Waits) for schedule in self.members)

    def visits(self, step: int) -> list[int]:
        """(M,) number of switches of each member up to and including `step`."""
        return [schedule.visit(step) for schedule in self.members]

    def tasks(self, step: int) -> list[int]:
        """(M,) task of each member for the transition that starts at `step`."""
        return [schedule.task(step) for schedule in self.members]

    def phases(self, step: int) -> list[float]:
        """(M,) phase of each member for the transition that starts at `step`."""
        return [float(schedule.phase(step)) for schedule in self.members]

    def lane_values(self, name: str, step: int, lanes: int, like: Tensor | None) -> Array:
        """`task`, `visit` or `phase` of every lane, where lanes come one after another.

        Args:
            name: the method of the schedules.
            step: environment steps of one member.
            lanes: N.
            like: a Tensor on the device wanted, or None for NumPy.

        Returns:
            (M, N), or (1, N) when all members follow one schedule.
        """
        distinct = self.members[:1] if len(set(self.members)) == 1 else self.members
        rows = [getattr(s, name)((step - _delays(s, lanes).like(like)).clip(0)) for s in distinct]
        return torch.stack(rows) if isinstance(like, Tensor) else np.stack(rows)

    def with_switches(self, switches: Sequence[Sequence[int]]) -> "MemberSchedules":
        """The schedules after these switches (M, …), where they wait for returns."""
        if not self.waits:
            return self
        pairs = zip(self.members, switches, strict=True)
        return MemberSchedules(
            [s.with_switches(p) if isinstance(s, Waits) else s for s, p in pairs]
        )

    def next_check(self, step: int, lanes: int) -> int | None:
        """First step after `step` at which a lane of any member may switch, or None."""
        found = [_next_check(schedule, step, lanes) for schedule in self._distinct.values()]
        return min((check for check in found if check is not None), default=None)

    def most_switches(self, step: int, lanes: int, horizon: int) -> int:
        """Bound on the vector steps among the next `horizon` at which one lane switches.

        Args:
            step: environment steps of one member played so far.
            lanes: N, environment steps of one member in a vector step.
            horizon: vector steps.

        Returns:
            A count, at most `horizon`.
        """
        behind = max(int(_delays(s, lanes).values[-1]) for s in self._distinct.values())
        reached = set()
        check = self._first_check(max(step - behind, 0))
        while check is not None and check <= step + horizon * lanes:
            reached.add(check if behind else -(-(check - step) // lanes))
            check = self._first_check(check)
        return min(horizon, len(reached))

    def _first_check(self, step: int) -> int | None:
        found = [schedule.next_check(step) for schedule in self._distinct.values()]
        return min((check for check in found if check is not None), default=None)

    def next_boundary(self, step: int) -> int | None:
        """First switch of any member after `step`, or None."""
        found = [schedule.next_boundary(step) for schedule in self._distinct.values()]
        return min((boundary for boundary in found if boundary is not None), default=None)

    def boundaries(self, total: int) -> list[int]:
        """Ascending steps b, 0 < b < total, at which any member switches."""
        found = {b for schedule in self._distinct.values() for b in schedule.boundaries(total)}
        return sorted(found)

    def groups(self, members: Sequence[str] = ()) -> dict[Schedule, str]:
        """The distinct schedules, and the names of the members that follow each.

        Args:
            members: names of the members, in place of their numbers.
        """
        named = members or [f"member {index}" for index in range(len(self))]
        groups: dict[Schedule, list[str]] = {}
        for schedule, name in zip(self.members, named, strict=True):
            groups.setdefault(schedule, []).append(name)
        return {schedule: ", ".join(follow) for schedule, follow in groups.items()}

    def to_dict(self) -> Description:
        """A description made of JSON types, read back by `from_dict`."""
        return {"members": [schedule.to_dict() for schedule in self.members]}

    @staticmethod
    def from_dict(description: Description) -> "MemberSchedules":
        """Rebuild what `to_dict` described."""
        return MemberSchedules([Schedule.from_dict(d) for d in description["members"]])


@lru_cache(maxsize=64)
def _delays(schedule: Schedule, lanes: int) -> Table:
    """(N,) steps by which each lane lags behind the first, 0 without delays."""
    delays = schedule.delays(lanes)
    return Table(np.zeros(lanes, np.int64) if delays is None else delays)


def _next_check(schedule: Schedule, step: int, lanes: int) -> int | None:
    """First step after `step` at which one of the lanes may switch, or None."""
    if schedule.delays(1) is None:
        return schedule.next_check(step)
    delays = _delays(schedule, lanes).values
    best: int | None = None
    boundary = schedule.next_boundary(max(step - int(delays[-1]), 0))
    while boundary is not None and (best is None or boundary < best):
        place = int(np.searchsorted(delays, step - boundary, side="right"))
        if place < lanes:  # the first lane for which this boundary still lies ahead
            check = boundary + int(delays[place])
            best = check if best is None else min(best, check)
        boundary = schedule.next_boundary(boundary)
    return best


class ReturnMonitor:
    """Sums the returns of episodes on the device, for schedules that wait for returns.

    An episode that a switch ended does not count. Unless a schedule `Waits` it does nothing; with
    one that does, the host waits for the device once every `every` steps.

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

    def look(self, reward: Value, done: Array | bool, steps: int) -> MemberSchedules:
        """Count a step, and advance the schedules that look at the returns now.

        Args:
            reward: (L,), or a number for a single environment.
            done: (L,) bool, episodes that ended by themselves.
            steps: environment steps of one member, this step included.

        Returns:
            The schedules, with the switches that were found due.
        """
        if not self.schedules.waits:
            return self.schedules
        ended = torch.as_tensor(done, device=self._running.device).reshape(self._running.shape)
        self._running += torch.as_tensor(reward, device=ended.device).reshape(ended.shape)
        self._sums[0] += (self._running * ended).sum(1)
        self._sums[1] += ended.sum(1)
        self._running.masked_fill_(ended, 0.0)
        looking = [
            isinstance(s, Waits) and steps // s.every > (steps - self.lanes) // s.every
            for s in self.schedules.members
        ]
        if any(looking):
            self._decide(looking, steps)
        return self.schedules

    def _decide(self, looking: list[bool], steps: int) -> None:
        totals, counts = self._sums.tolist()
        members = list(self.schedules.members)
        for member, schedule in enumerate(members):
            enough = isinstance(schedule, Waits) and counts[member] >= schedule.episodes
            if looking[member] and enough and isinstance(schedule, Waits):
                members[member] = schedule.advance(steps, totals[member] / counts[member])
                self._sums[:, member] = 0.0
        self.schedules = MemberSchedules(members)

    def forget(self, cut: Array | bool) -> None:
        """Drop the returns of episodes (L,) that a switch cut short."""
        if self.schedules.waits:
            cut = torch.as_tensor(cut, device=self._running.device)
            self._running.masked_fill_(cut.reshape(self._running.shape), 0.0)

    def state_dict(self) -> State:
        """A copy of the sums and of the switches so far."""
        members = self.schedules.members
        switches = [list(s.switches) if isinstance(s, Waits) else [] for s in members]
        sums = {"running": self._running.clone(), "sums": self._sums.clone()}
        return {**sums, "switches": switches}

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state` was taken."""
        self._running.copy_(state["running"])
        self._sums.copy_(state["sums"])
        self.schedules = self.schedules.with_switches(state["switches"])
