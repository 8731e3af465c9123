"""The MiniGrid families as batched tensor programs, exact to the step."""

from typing import Any

from neoteny.envs.minigrid.corridor import KeyCorridor
from neoteny.envs.minigrid.crossing import Crossing
from neoteny.envs.minigrid.doors import DoorKey, GoToDoor, RedBlueDoors
from neoteny.envs.minigrid.empty import DistShift, Empty, LavaGap
from neoteny.envs.minigrid.memory import Memory
from neoteny.envs.minigrid.objects import Fetch, PutNear
from neoteny.envs.minigrid.obstacles import DynamicObstacles
from neoteny.envs.minigrid.rooms import FourRooms, LockedRoom, MultiRoom
from neoteny.envs.minigrid.unlock import BlockedUnlockPickup, Unlock, UnlockPickup
from neoteny.envs.minigrid.world import MiniGrid

#: Class and fixed options by the reference's id.
VARIANTS: dict[str, tuple[type[MiniGrid], dict[str, Any]]] = {
    **{f"MiniGrid-Empty-{n}x{n}-v0": (Empty, {"size": n}) for n in (5, 6, 8, 16)},
    **{
        f"MiniGrid-Empty-Random-{n}x{n}-v0": (Empty, {"size": n, "random_start": True})
        for n in (5, 6)
    },
    "MiniGrid-DistShift1-v0": (DistShift, {"strip_row": 2}),
    "MiniGrid-DistShift2-v0": (DistShift, {"strip_row": 5}),
    **{f"MiniGrid-LavaGapS{n}-v0": (LavaGap, {"size": n}) for n in (5, 6, 7)},
    **{
        f"MiniGrid-{name}CrossingS{n}N{rivers}-v0": (
            Crossing,
            {"size": n, "rivers": rivers, "lava": name == "Lava"},
        )
        for name in ("Lava", "Simple")
        for n, rivers in ((9, 1), (9, 2), (9, 3), (11, 5))
    },
    **{
        f"MiniGrid-Dynamic-Obstacles-{n}x{n}-v0": (DynamicObstacles, {"size": n, "obstacles": k})
        for n, k in ((5, 2), (6, 3), (8, 4), (16, 8))
    },
    **{
        f"MiniGrid-Dynamic-Obstacles-Random-{n}x{n}-v0": (
            DynamicObstacles,
            {"size": n, "obstacles": n - 3, "random_start": True},
        )
        for n in (5, 6)
    },
    "MiniGrid-FourRooms-v0": (FourRooms, {}),
    **{f"MiniGrid-DoorKey-{n}x{n}-v0": (DoorKey, {"size": n}) for n in (5, 6, 8, 16)},
    "MiniGrid-Unlock-v0": (Unlock, {}),
    "MiniGrid-UnlockPickup-v0": (UnlockPickup, {}),
    "MiniGrid-BlockedUnlockPickup-v0": (BlockedUnlockPickup, {}),
    **{
        f"MiniGrid-KeyCorridorS{n}R{rows}-v0": (KeyCorridor, {"room_size": n, "rows": rows})
        for n, rows in ((3, 1), (3, 2), (3, 3), (4, 3), (5, 3), (6, 3))
    },
    "MiniGrid-MultiRoom-N2-S4-v0": (MultiRoom, {"rooms": 2, "room_size": 4}),
    # The reference keeps this id with six rooms, and corrects it in v1.
    "MiniGrid-MultiRoom-N4-S5-v0": (MultiRoom, {"rooms": 6, "room_size": 5}),
    "MiniGrid-MultiRoom-N4-S5-v1": (MultiRoom, {"rooms": 4, "room_size": 5}),
    "MiniGrid-MultiRoom-N6-v0": (MultiRoom, {"rooms": 6, "room_size": 10}),
    **{f"MiniGrid-GoToDoor-{n}x{n}-v0": (GoToDoor, {"size": n}) for n in (5, 6, 8)},
    **{f"MiniGrid-RedBlueDoors-{n}x{n}-v0": (RedBlueDoors, {"size": n}) for n in (6, 8)},
    **{f"MiniGrid-MemoryS{n}-v0": (Memory, {"size": n}) for n in (7, 9, 11, 13)},
    **{
        f"MiniGrid-MemoryS{n}Random-v0": (Memory, {"size": n, "random_length": True})
        for n in (13, 17)
    },
    "MiniGrid-LockedRoom-v0": (LockedRoom, {}),
    **{
        f"MiniGrid-Fetch-{n}x{n}-N{count}-v0": (Fetch, {"size": n, "objects": count})
        for n, count in ((5, 2), (6, 2), (8, 3))
    },
    **{
        f"MiniGrid-PutNear-{n}x{n}-N{count}-v0": (PutNear, {"size": n, "objects": count})
        for n, count in ((6, 2), (8, 3))
    },
}

__all__ = ["VARIANTS", "MiniGrid"]
