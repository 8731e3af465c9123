"""Non-stationarity: schedules say when, changes say what, adapters apply both to environments."""

from neoteny.wrappers.change import Change
from neoteny.wrappers.changes import (
    ActionPermutation,
    Dynamics,
    GoalSwitch,
    LabelNoise,
    LabelPermutation,
    RewardFlip,
    RewardScale,
    StickyActions,
)
from neoteny.wrappers.checked import CheckActions
from neoteny.wrappers.drift import LinearDrift, Sinusoidal
from neoteny.wrappers.irregular import Asynchronous, OnReturn, Poisson
from neoteny.wrappers.member_schedules import MemberSchedules
from neoteny.wrappers.nonstationary import NonStationaryVector
from neoteny.wrappers.observations import (
    GoalPermutation,
    ObservationDropout,
    ObservationNoise,
    ObservationOffset,
    ObservationPermutation,
)
from neoteny.wrappers.rules import Rules
from neoteny.wrappers.schedule import At, Cyclic, Periodic, RandomOrder, Schedule
from neoteny.wrappers.single import NonStationary
from neoteny.wrappers.statistics import EpisodeStatistics
from neoteny.wrappers.stream_files import StreamDefinition, read_stream
from neoteny.wrappers.streams import STREAMS, make_stream
from neoteny.wrappers.supervised import RandomLabels, SupervisedStream, make_supervised
from neoteny.wrappers.taskswitch import TaskSwitch

__all__ = [
    "STREAMS",
    "ActionPermutation",
    "Asynchronous",
    "At",
    "Change",
    "CheckActions",
    "Cyclic",
    "Dynamics",
    "EpisodeStatistics",
    "GoalPermutation",
    "GoalSwitch",
    "LabelNoise",
    "LabelPermutation",
    "LinearDrift",
    "MemberSchedules",
    "NonStationary",
    "NonStationaryVector",
    "ObservationDropout",
    "ObservationNoise",
    "ObservationOffset",
    "ObservationPermutation",
    "OnReturn",
    "Periodic",
    "Poisson",
    "RandomLabels",
    "RandomOrder",
    "RewardFlip",
    "RewardScale",
    "Rules",
    "Schedule",
    "Sinusoidal",
    "StickyActions",
    "StreamDefinition",
    "SupervisedStream",
    "TaskSwitch",
    "make_stream",
    "make_supervised",
    "read_stream",
]
