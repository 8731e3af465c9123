"""MiniGrid beside the `minigrid` package, from the package's own states."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import gymnasium
import minigrid  # noqa: F401 - registers the reference's ids
import numpy as np
import torch
from oracles.tally import Tally

from neoteny.envs import make
from neoteny.envs.minigrid import VARIANTS, MiniGrid, cells

#: Left, right, forward, pickup, drop, toggle, done.
CHANCES = np.array([0.14, 0.14, 0.42, 0.12, 0.06, 0.11, 0.01])


def families() -> dict[str, list[str]]:
    """Ids by the name of their family."""
    found: dict[str, list[str]] = {}
    for id, (family, options) in VARIANTS.items():
        kind = {True: "Lava", False: "Simple"}.get(options.get("lava"), "")
        found.setdefault(kind + family.__name__, []).append(id)
    return found


def cell_index(reference: Any, place: Any) -> int:
    """Our index of a cell of the reference's."""
    return int(place[1]) * reference.width + int(place[0])


def door_place(reference: Any, colour: str) -> tuple[int, int]:
    """Position of the door of a colour."""
    (index,) = [
        index
        for index, item in enumerate(reference.grid.grid)
        if item is not None and (item.type, item.color) == ("door", colour)
    ]
    return index % reference.width, index // reference.width


#: Fields of the state that a family adds.
EXTRAS = {
    "GoToDoor": lambda reference: {"target": cell_index(reference, reference.target_pos)},
    "RedBlueDoors": lambda reference: {
        "doors": [
            cell_index(reference, door_place(reference, colour)) for colour in ("red", "blue")
        ]
    },
    "PutNear": lambda reference: {"target": cell_index(reference, reference.target_pos)},
    "DynamicObstacles": lambda reference: {
        "balls": [cell_index(reference, ball.cur_pos) for ball in reference.obstacles]
    },
}


@cache
def object_code(encoding: tuple[int, int, int]) -> int:
    """Our code of an object that the reference encodes so."""
    return int(cells.decode(np.array(encoding)))


def item_code(item: Any) -> int:
    """Our code of what the reference has in a cell or in its hand."""
    return cells.EMPTY if item is None else object_code(item.encode())


def layout(env: MiniGrid, board: np.ndarray) -> dict[str, int]:
    """Index of a board among its family's fixed boards, if there are several."""
    pool = env._pool[:, : env.area].numpy()
    return {"layout": int(np.flatnonzero((pool == board).all(1))[0])} if len(pool) > 1 else {}


def read(env: MiniGrid, reference: Any, missions: dict[str, int]) -> dict[str, Any]:
    """State of a reference environment in our terms."""
    board = np.array([item_code(item) for item in reference.grid.grid], np.uint8)
    place = cell_index(reference, reference.agent_pos)
    state: dict[str, Any] = {
        "pose": int(reference.agent_dir) * env.area + place,
        "elapsed": reference.step_count,
    }
    if hasattr(env, "_pool"):
        state |= layout(env, board)
    else:
        row = np.zeros(env.state["grid"].shape[1] * 8, np.uint8)
        row[: env.area] = board
        row[env.area : env.area + 2] = cells.WALL, item_code(reference.carrying)
        state["grid"] = row.view(np.int64)
    if env.goal_words:
        state["mission"] = missions[reference.mission]
    extras = EXTRAS.get(type(env).__name__)
    return state | extras(reference) if extras else state


def inside(family: str, reference: Any) -> set[tuple[int, int]]:
    """Cells that the agent can reach when everything but walls lets it pass."""
    reached: set[tuple[int, int]] = set()
    x, y = map(int, reference.agent_pos)
    frontier = [(x, y)]
    while frontier:
        x, y = place = frontier.pop()
        item = reference.grid.get(x, y)
        if place in reached or (item is not None and item.type == "wall"):
            continue
        reached.add(place)
        # Doors lead on, but for those of GoToDoor, which lead out of the room.
        if item is None or family != "GoToDoor":
            frontier += [(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)]
    return reached


def hold(rng: np.random.Generator, reference: Any, fetch: list[Any], objects: list[Any]) -> None:
    """Sometimes puts one of the objects to fetch into the agent's hand, or empties it."""
    if reference.carrying is None:
        if fetch and rng.random() < 0.5:
            place = fetch[rng.integers(len(fetch))]
            reference.carrying = reference.grid.get(*place)
            reference.grid.set(*place, None)
            objects.remove(place)
    elif rng.random() < 0.3 and not hasattr(reference, "move_pos"):
        reference.carrying = None


#: Families in which doors may be found open.
OPEN = ("DoorKey", "KeyCorridor", "UnlockPickup", "BlockedUnlockPickup", "MultiRoom", "LockedRoom")


def enterable(item: Any) -> bool:
    """True if the agent may stand on the cell of this item."""
    return item is None or (item.type == "door" and item.is_open)


def tamper(rng: np.random.Generator, family: str, reference: Any) -> None:
    """Moves a reference environment to where something can happen."""
    places = inside(family, reference)
    objects = sorted(place for place in places if reference.grid.get(*place) is not None)
    if rng.random() < 0.1:
        reference.step_count = int(rng.integers(reference.max_steps - 3, reference.max_steps))
    if hasattr(reference, "move_pos"):
        fetch = [place for place in objects if place == tuple(reference.move_pos)]
    elif family in ("Fetch", "Memory"):
        fetch = []
    else:
        fetch = [place for place in objects if reference.grid.get(*place).type == "key"]
    hold(rng, reference, fetch, objects)
    doors = [place for place in objects if reference.grid.get(*place).type == "door"]
    # In the other families with doors an open one ends the episode.
    if doors and family in OPEN and rng.random() < 0.4:
        door = reference.grid.get(*doors[rng.integers(len(doors))])
        door.is_open, door.is_locked = True, False
    if objects:
        x, y = objects[rng.integers(len(objects))]
        direction = int(rng.integers(4))
        dx, dy = ((1, 0), (0, 1), (-1, 0), (0, -1))[direction]
        place = (x - dx, y - dy)
        if place in places and enterable(reference.grid.get(*place)):
            reference.agent_pos, reference.agent_dir = place, direction


def move_balls(reference: Any, targets: list[int]) -> None:
    """Makes the obstacles of the next step go to given cells, if the reference could send them.

    An obstacle that could not stays, and the states differ.
    """
    place, following = type(reference).place_obj, iter(targets)

    def place_obj(ball: Any, top: Any, size: Any, max_tries: int) -> None:
        x, y = (index := next(following)) % reference.width, index // reference.width
        near = top[0] <= x < top[0] + 3 and top[1] <= y < top[1] + 3
        if (x, y) == tuple(ball.cur_pos) or not near:
            raise RecursionError
        # The reference's own placing, left with a single cell to choose.
        place(reference, ball, (x, y), (1, 1), max_tries=1)

    reference.place_obj = place_obj


class Pair:
    """The same episodes in our environment and in one reference per lane.

    Args:
        id: An id of `VARIANTS`.
        lanes: Parallel environments.
        seed: Of everything.
        every: States are compared in one step of so many, and at the ends of episodes;
            observations, rewards and flags in every one.

    Attributes:
        wins: Steps with a positive reward.
        ends: Other terminations.
        truncations: Truncations.
    """

    def __init__(self, id: str, lanes: int = 16, seed: int = 0, every: int = 1) -> None:
        options = {"layouts": 64} if "MultiRoom" in id else {}
        self.env = make(id, lanes, seed=seed, **options)
        self.tally, self._every = Tally(lanes), every
        self._rng = np.random.default_rng(seed)
        self._references = [gymnasium.make(id).unwrapped for _ in range(lanes)]
        self._missions = {
            self.env.mission.format(*map(tuple.__getitem__, self.env.goal_words, row)): index
            for index, row in enumerate(self.env._goals.tolist())
        }
        self.env.reset()
        for lane, reference in enumerate(self._references):
            reference.reset(seed=1000 * seed + lane)
        self._keep_states()
        self.wins = self.ends = self.truncations = 0
        self._inject(range(lanes))
        told = [reference.mission for reference in self._references]
        self.tally.compare("mission", np.array(self.env.missions()), np.array(told))

    def _keep_states(self) -> None:
        """Keep what our states are before episodes start over."""
        advance = self.env._advance

        def keep(state: Any, actions: torch.Tensor) -> Any:
            results = advance(state, actions)
            self._after = results[1]
            return results

        self.env._advance = keep

    def _inject(self, lanes: Iterable[int]) -> None:
        for lane in lanes:
            for name, value in read(self.env, self._references[lane], self._missions).items():
                self.env.state[name][lane] = torch.as_tensor(value)
            self.tally.injected += 1

    def run(self, steps: int) -> None:
        """Steps both; in half of the lanes the reference is moved to telling places."""
        lanes = self.tally.lanes
        family = type(self.env).__name__
        for step in range(steps):
            actions = self._rng.choice(7, lanes, p=CHANCES)
            if step % 4 == 0:
                actions[: lanes // 2] = self._rng.integers(0, 7, lanes // 2)
                for reference in self._references[: lanes // 2]:
                    tamper(self._rng, family, reference)
                self._inject(range(lanes // 2))
            self._step(actions % int(self.env.single_action_space.n), step % self._every == 0)

    def _step(self, actions: np.ndarray, states: bool) -> None:
        _, reward, terminated, truncated, info = self.env.step(torch.as_tensor(actions))
        expected = [self._reference_step(lane, int(action)) for lane, action in enumerate(actions)]
        observed, rewards, *flags = zip(*expected, strict=True)
        found = self._after["pose"] // self.env.area
        self.tally.compare("image", info["final_obs"], [obs["image"] for obs in observed])
        self.tally.compare("direction", found, [int(obs["direction"]) for obs in observed])
        self.tally.compare("reward", reward, np.array(rewards, np.float32))
        self.tally.compare("terminated", terminated, flags[0])
        self.tally.compare("truncated", truncated, flags[1])
        done = np.logical_or(*np.array(flags, bool))
        for lane in range(self.tally.lanes) if states else np.flatnonzero(done):
            self._compare_state(int(lane))
        self.tally.compare("elapsed", (self.env.state["elapsed"] == 0).numpy(), done)
        self.tally.step()
        self.wins += int((reward > 0).sum())
        self.ends += int((terminated & (reward <= 0)).sum())
        self.truncations += int(truncated.sum())
        for lane in np.flatnonzero(done):
            self._references[lane].__dict__.pop("place_obj", None)
            self._references[lane].reset()
        self._inject(np.flatnonzero(done))

    def _reference_step(self, lane: int, action: int) -> tuple[Any, ...]:
        reference = self._references[lane]
        if "balls" in self._after:
            move_balls(reference, self._after["balls"][lane].tolist())
        return reference.step(action)[:4]

    def _compare_state(self, lane: int) -> None:
        """Compares everything, the elapsed steps as they were before the step."""
        reference = self._references[lane]
        state = read(self.env, reference, self._missions)
        state["elapsed"] = reference.step_count - 1
        for name, value in state.items():
            same = np.array_equal(self._after[name][lane].numpy(), value)
            self.tally.compare_lane(lane, name, same)
