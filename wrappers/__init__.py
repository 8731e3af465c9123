"""Non-stationarity: schedules say when, changes say what, adapters apply both to environments.

An environment is what an agent steps; it has one task. A stream is an environment, several of them
or a data set, with a schedule of tasks; `make_stream` builds one by name. A world is the grid that
a lane of a MiniGrid environment plays in.
"""

import neoteny.wrappers.named_streams  # noqa: F401 (its import registers the streams)
from neoteny.wrappers.change_base import Change
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
from neoteny.wrappers.compose import ComposedChanges
from neoteny.wrappers.gradual_schedules import LinearDrift, Sinusoidal
from neoteny.wrappers.irregular_schedules import (
    Asynchronous,
    At,
    OnReturn,
    Poisson,
)
from neoteny.wrappers.member_schedules import MemberSchedules
from neoteny.wrappers.observations import (
    GoalPermutation,
    ObservationDropout,
    ObservationNoise,
    ObservationOffset,
    ObservationPermutation,
)
from neoteny.wrappers.schedules import Cyclic, Periodic, RandomOrder, Schedule, Waits
from neoteny.wrappers.single import NonStationary
from neoteny.wrappers.statistics import EpisodeStatistics
from neoteny.wrappers.stream_files import StreamDefinition, read_stream
from neoteny.wrappers.streams import STREAMS, StreamContext, make_stream
from neoteny.wrappers.supervised import RandomLabels, SupervisedStream
from neoteny.wrappers.supervised_streams import make_supervised
from neoteny.wrappers.taskswitch import TaskSwitch
from neoteny.wrappers.vector import NonStationaryVector
from neoteny.wrappers.vector_base import CheckActions

__all__ = [
    "STREAMS",
    "ActionPermutation",
    "Asynchronous",
    "At",
    "Change",
    "CheckActions",
    "ComposedChanges",
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
    "Schedule",
    "Sinusoidal",
    "StickyActions",
    "StreamContext",
    "StreamDefinition",
    "SupervisedStream",
    "TaskSwitch",
    "Waits",
    "make_stream",
    "make_supervised",
    "read_stream",
]
