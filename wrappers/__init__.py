"""Non-stationarity: schedules say when, changes say what, adapters apply both to environments."""

from neoteny.wrappers.changes import Change, ObservationPermutation, RewardFlip
from neoteny.wrappers.member_schedules import MemberSchedules
from neoteny.wrappers.nonstationary import NonStationary, NonStationaryVector
from neoteny.wrappers.schedule import At, Cyclic, Periodic, RandomOrder, Schedule
from neoteny.wrappers.statistics import EpisodeStatistics
from neoteny.wrappers.streams import STREAMS, make_stream
from neoteny.wrappers.taskswitch import TaskSwitch

__all__ = [
    "STREAMS",
    "At",
    "Change",
    "Cyclic",
    "EpisodeStatistics",
    "MemberSchedules",
    "NonStationary",
    "NonStationaryVector",
    "ObservationPermutation",
    "Periodic",
    "RandomOrder",
    "RewardFlip",
    "Schedule",
    "TaskSwitch",
    "make_stream",
]
