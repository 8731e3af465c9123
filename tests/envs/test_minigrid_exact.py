"""Step-exactness of the MiniGrid families against the `minigrid` package, from its own states."""

import gymnasium
import minigrid  # noqa: F401 - registers the reference's ids
import numpy as np
import pytest
import torch

from neoteny.envs import make
from neoteny.envs.minigrid import VARIANTS, cells

LANES = 16
FAMILIES = {}
for _id, (_family, _) in VARIANTS.items():
    FAMILIES.setdefault(_family.__name__, []).append(_id)
#: Left, right, forward, pickup, drop, toggle, done.
CHANCES = np.array([0.14, 0.14, 0.42, 0.12, 0.06, 0.11, 0.01])


def cell_index(reference, place):
    return int(place[1]) * reference.width + int(place[0])


def layout(env, reference, board):
    pool = env._pool[:, : env.area].numpy()
    return {"layout": int(np.flatnonzero((pool == board).all(1))[0])} if len(pool) > 1 else {}


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


def door_place(reference, colour):
    (index,) = [
        index
        for index, item in enumerate(reference.grid.grid)
        if item is not None and (item.type, item.color) == ("door", colour)
    ]
    return index % reference.width, index // reference.width


def read(env, reference):
    """State of a reference environment in our terms."""
    board = cells.decode(reference.grid.encode()).T.reshape(-1)
    place = cell_index(reference, reference.agent_pos)
    state = {
        "pose": int(reference.agent_dir) * env.area + place,
        "elapsed": reference.step_count,
    }
    if hasattr(env, "_pool"):
        state |= layout(env, reference, board)
    else:
        held = reference.carrying
        hand = cells.EMPTY if held is None else cells.decode(np.array(held.encode()))
        row = np.zeros(env.state["grid"].shape[1] * 8, np.uint8)
        row[: env.area], row[env.area : env.area + 2] = board, (cells.WALL, hand)
        state["grid"] = row.view(np.int64)
    if env.goal_words:
        state["mission"] = env.known_missions[reference.mission]
    extras = EXTRAS.get(type(env).__name__)
    return state | extras(reference) if extras else state


def inside(family, reference):
    """Cells that the agent can reach when everything but walls lets it pass."""
    reached, frontier = set(), [tuple(map(int, reference.agent_pos))]
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


def hold(rng, reference, fetch, objects):
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


def enterable(item):
    return item is None or (item.type == "door" and item.is_open)


def tamper(rng, family, reference):
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


def move_balls(reference, cells):
    """Makes the obstacles of the next step go to given cells, if the reference could send them."""
    place, targets = type(reference).place_obj, iter(cells)

    def place_obj(ball, top, size, max_tries):
        x, y = (index := next(targets)) % reference.width, index // reference.width
        if (x, y) == tuple(ball.cur_pos):
            raise RecursionError
        assert top[0] <= x < top[0] + 3
        assert top[1] <= y < top[1] + 3
        # The reference's own placing, left with a single cell to choose.
        place(reference, ball, (x, y), (1, 1), max_tries=1)

    reference.place_obj = place_obj


class Pair:
    """The same episodes in our environment and in one reference per lane."""

    def __init__(self, id, seed=0, lanes=LANES):
        options = {"layouts": 64} if "MultiRoom" in id else {}
        self.env = make(id, lanes, seed=seed, **options)
        self.lanes = lanes
        self.rng = np.random.default_rng(seed)
        self.references = [gymnasium.make(id).unwrapped for _ in range(lanes)]
        self.env.known_missions = {
            self.env.mission.format(*map(tuple.__getitem__, self.env.goal_words, row)): index
            for index, row in enumerate(self.env._goals.tolist())
        }
        self.env.reset()
        for lane, reference in enumerate(self.references):
            reference.reset(seed=1000 * seed + lane)
        advance = self.env._advance

        def keep(state, actions):
            results = advance(state, actions)
            self.after = results[1]
            return results

        self.env._advance = keep
        self.steps, self.wins, self.ends, self.truncations = 0, 0, 0, 0
        self.inject(range(lanes))
        assert self.env.missions() == [reference.mission for reference in self.references]

    def inject(self, lanes):
        for lane in lanes:
            for name, value in read(self.env, self.references[lane]).items():
                self.env.state[name][lane] = torch.as_tensor(value)

    def run(self, steps):
        """Steps both; in half of the lanes the reference is moved to telling places."""
        for step in range(steps):
            actions = self.rng.choice(7, self.lanes, p=CHANCES)
            if step % 4 == 0:
                actions[: self.lanes // 2] = self.rng.integers(0, 7, self.lanes // 2)
                for reference in self.references[: self.lanes // 2]:
                    tamper(self.rng, type(self.env).__name__, reference)
                self.inject(range(self.lanes // 2))
            self.step(actions)

    def step(self, actions):
        if self.env.single_action_space.n < 7:
            actions = actions % int(self.env.single_action_space.n)
        _, reward, terminated, truncated, info = self.env.step(torch.as_tensor(actions))
        for lane, (reference, action) in enumerate(zip(self.references, actions, strict=True)):
            if "balls" in self.after:
                move_balls(reference, self.after["balls"][lane].tolist())
            obs, *expected, _ = reference.step(int(action))
            found = [float(reward[lane]), bool(terminated[lane]), bool(truncated[lane])]
            assert found == [float(np.float32(expected[0])), *expected[1:]]
            np.testing.assert_array_equal(info["final_obs"][lane].numpy(), obs["image"])
            if self.steps // self.lanes % 4 == 3:
                self.compare_state(lane)
            direction = self.after["pose"][lane] // self.env.area
            assert int(direction) == obs["direction"]
        done = (terminated | truncated).numpy()
        for lane in np.flatnonzero(done):
            self.compare_state(lane)
        self.steps += self.lanes
        self.wins += int((reward > 0).sum())
        self.ends += int((terminated & (reward <= 0)).sum())
        self.truncations += int(truncated.sum())
        assert (self.env.state["elapsed"].numpy()[done] == 0).all()
        for lane in np.flatnonzero(done):
            self.references[lane].__dict__.pop("place_obj", None)
            self.references[lane].reset()
        self.inject(np.flatnonzero(done))

    def compare_state(self, lane):
        """Compares everything, the elapsed steps as they were before the step."""
        reference = self.references[lane]
        state = read(self.env, reference) | {"elapsed": reference.step_count - 1}
        for name, value in state.items():
            np.testing.assert_array_equal(self.after[name][lane].numpy(), value, err_msg=name)


def compare(id, steps, seed=0):
    pair = Pair(id, seed)
    pair.run(steps // LANES)
    print(
        f"{id}: {pair.steps} steps exact, {pair.wins} won, {pair.ends} ended without reward,"
        f" {pair.truncations} truncated"
    )
    assert pair.wins + pair.ends > 0


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_families_equal_minigrid_step_by_step(family):
    compare(FAMILIES[family][-1], 960)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is out of date")
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_families_equal_minigrid_over_a_long_run(family):
    ids = FAMILIES[family]
    for seed, id in enumerate(ids):
        compare(id, -(-100_000 // len(ids) // LANES) * LANES, seed + 1)
