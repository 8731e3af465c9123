"""Checks of what a TaskSwitch is given."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.wrappers.member_schedules import MemberSchedules
from neoteny.wrappers.schedules import Schedule


def shared(schedule: Schedule | MemberSchedules, members: int) -> MemberSchedules:
    """Schedules that switch the games of all members together."""
    if isinstance(schedule, Schedule):
        schedule = MemberSchedules(schedule, members)
    if len(schedule) != members:
        raise InputError(f"{len(schedule)} schedules for {members} members; give one each")
    if schedule.gradual or schedule.delayed or schedule.waits:
        raise InputError(
            f"{schedule.members[0]} cannot switch environments: all lanes must switch at once, at "
            "steps known beforehand; use Periodic, At, Cyclic, RandomOrder or Poisson"
        )
    if not schedule.switch_together:
        raise InputError(f"{schedule}: members must switch together; give equal periods or steps")
    return schedule


def checked_tables(tables: Sequence[Sequence[int]] | None, ids: int) -> Tensor | None:
    """The tables (ids, common actions) of actions, if they fit."""
    if tables is None:
        return None
    if len(tables) != ids or len({len(table) for table in tables}) != 1:
        raise InputError(f"action_tables {tables}: give {ids} tables of one length, one an id")
    return torch.tensor([list(table) for table in tables])


def checked_orders(
    orders: npt.NDArray[np.int64] | None, members: int
) -> npt.NDArray[np.int64] | None:
    """The orders of channels, if they fit."""
    if orders is not None and (orders.ndim != 3 or len(orders) != members):
        raise InputError(
            f"channel_orders has shape {orders.shape}; give (members={members}, visits, channels)"
        )
    return orders
