"""Episodes begin as in the `minigrid` package: distributions, supports, and solvable layouts."""

from collections import Counter
from itertools import combinations

import gymnasium
import minigrid  # noqa: F401 - registers the reference's ids
import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare

from neoteny.core import rng
from neoteny.envs import make
from neoteny.envs.minigrid import VARIANTS, cells
from neoteny.envs.minigrid.cells import Kind
from neoteny.envs.minigrid.layouts import distinct

FAMILIES = {}
for _id, (_family, _) in VARIANTS.items():
    FAMILIES.setdefault(_family.__name__, []).append(_id)
OBJECTS = (Kind.CLOSED_DOOR, Kind.LOCKED_DOOR, Kind.KEY, Kind.BALL, Kind.BOX, Kind.GOAL)


def ours(id, count, seed=0, **options):
    """Boards (count, height, width), poses and missions of fresh episodes."""
    env = make(id, count, seed=seed, **options)
    env.reset()
    boards = env._grid(env.state)[:, : env.area].view(count, env.height, env.width).numpy()
    poses = env.state["pose"].expand(count).numpy()
    return boards, poses, np.array(env.missions())


def reference(id, count, seed=0):
    env = gymnasium.make(id).unwrapped
    boards, poses, missions = [], [], []
    for index in range(count):
        env.reset(seed=seed if index == 0 else None)
        boards.append(cells.decode(env.grid.encode()).T)
        place = int(env.agent_pos[1]) * env.width + int(env.agent_pos[0])
        poses.append(int(env.agent_dir) * env.width * env.height + place)
        missions.append(env.mission)
    return np.stack(boards), np.array(poses), np.array(missions)


def features(boards, poses, missions):
    """Categories of each layout by name, among them relations between the objects."""
    count, height, width = boards.shape
    flat, kinds = boards.reshape(count, -1), boards >> 3 & 15
    direction, agent = np.divmod(poses, height * width)
    front = agent + np.array([1, width, -1, -width])[direction]
    found = {
        "direction": direction,
        "mission": missions,
        "front": flat[np.arange(count), front],
        "hash": (flat @ np.arange(1, height * width + 1) * 31 + poses) % 23,
    }
    cell, colour = {"agent": agent}, {}
    for kind in OBJECTS:
        mask = kinds.reshape(count, -1) == kind
        if mask.any():
            found[f"number {kind.name}"] = mask.sum(1)
            # In reading order; a layout without any counts as one in its corner.
            cell[f"first {kind.name}"] = mask.argmax(1)
            cell[f"last {kind.name}"] = (height * width - 1 - mask[:, ::-1].argmax(1)) * mask.any(1)
    for name, index in cell.items():
        colour[name] = found[f"{name} colour"] = flat[np.arange(count), index] & 7
    for first, second in combinations(cell, 2):
        down = cell[first] // width - cell[second] // width
        across = cell[first] % width - cell[second] % width
        found[f"{first} to {second}"] = abs(down) + abs(across)
        found[f"{first} like {second}"] = colour[first] == colour[second]
    for kind in (Kind.WALL, Kind.LAVA):
        found[f"number {kind.name}"] = (kinds == kind).sum((1, 2))
        found[f"{kind.name} in the middle row"] = (kinds == kind)[:, height // 2].sum(1)
        found[f"{kind.name} in the middle column"] = (kinds == kind)[:, :, width // 2].sum(1)
    return found | cell


def p_value(left, right):
    """Of both samples coming from one distribution, rare categories joined."""
    _, category = np.unique(np.concatenate([left, right]), return_inverse=True)
    halves = np.split(category, [len(left)])
    table = np.array([np.bincount(half, minlength=category.max() + 1) for half in halves])
    share = table.sum(0) * min(len(left), len(right)) / table.sum()
    rare = table[:, share < 5].sum(1, keepdims=True)
    table = np.concatenate([table[:, share >= 5], rare[:, rare.sum(0) > 0]], axis=1)
    return chi2_contingency(table).pvalue if table.shape[1] > 1 else 1.0


def assert_alike(id, count, seed=0):
    # Draws from a pool are independent while they are much fewer than its layouts.
    pooled = "MultiRoom" in id
    options = {"layouts": 8 * count} if pooled else {}
    mine = features(*ours(id, count if pooled else 8 * count, seed + 1, **options))
    theirs = features(*reference(id, count, seed + 2))
    assert mine.keys() == theirs.keys()
    values = {name: p_value(mine[name], theirs[name]) for name in mine}
    worst = min(values, key=values.get)
    print(f"{id}: {len(values)} features, least p {values[worst]:.4f} ({worst})")
    # About 3,000 features are compared in all.
    assert values[worst] > 1e-5, worst
    for kind in ("KEY", "BALL", "BOX", "GOAL"):
        number = f"number {kind}"
        assert number not in mine or set(mine[number]) == set(theirs[number])


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_layouts_are_distributed_as_the_references(family):
    assert_alike(FAMILIES[family][0], 150)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is out of date")
@pytest.mark.parametrize("id", VARIANTS)
def test_many_layouts_are_distributed_as_the_references(id):
    assert_alike(id, 4000)


def states(boards, poses, missions):
    return Counter(zip(map(bytes, boards), poses.tolist(), missions.tolist(), strict=True))


@pytest.mark.parametrize(
    ("id", "layouts"),
    [
        ("MiniGrid-DoorKey-5x5-v0", 12 * 4),
        ("MiniGrid-Empty-Random-5x5-v0", 8 * 4),
        ("MiniGrid-LavaGapS7-v0", 3 * 5),
        ("MiniGrid-SimpleCrossingS9N1-v0", 6 * 7),
        ("MiniGrid-MemoryS7-v0", 4 * 4),
        ("MiniGrid-Dynamic-Obstacles-5x5-v0", 7 * 6 // 2),
        pytest.param("MiniGrid-KeyCorridorS3R1-v0", 3 * 6**3, marks=pytest.mark.slow),
    ],
)
def test_small_families_draw_every_layout_equally_often(id, layouts):
    found = states(*ours(id, 40 * layouts))
    assert len(found) == layouts
    assert chisquare(list(found.values())).pvalue > 1e-3
    theirs = set(states(*reference(id, min(12 * layouts, 1200))))
    assert theirs <= set(found)
    assert len(theirs) == layouts or layouts > 100


def reachable(board, start):
    """Kinds of cells reached by an agent that picks up keys and opens doors."""
    height, width = board.shape
    keys, reached = set(), set()
    while True:
        seen, frontier = set(), [start]
        while frontier:
            cell = frontier.pop()
            code = int(board.flat[cell])
            kind, colour = Kind(code >> 3 & 15), code & 7
            shut = kind == Kind.LOCKED_DOOR and colour not in keys
            if cell in seen or kind in (Kind.WALL, Kind.LAVA) or shut:
                continue
            seen.add(cell)
            if kind == Kind.KEY:
                keys.add(colour)
            y, x = divmod(cell, width)
            frontier += [
                ny * width + nx
                for ny, nx in ((y, x + 1), (y, x - 1), (y + 1, x), (y - 1, x))
                if 0 <= ny < height and 0 <= nx < width
            ]
        if seen == reached:
            return reached
        reached = seen


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_object_can_be_reached(family):
    for id in FAMILIES[family]:
        options = {"layouts": 64} if "MultiRoom" in id else {}
        boards, poses, _ = ours(id, 5, seed=3, **options)
        for board, pose in zip(boards, poses, strict=True):
            reached = reachable(board, int(pose) % board.size)
            kinds = board.reshape(-1) >> 3 & 15
            objects = np.flatnonzero(np.isin(kinds, OBJECTS))
            assert set(objects.tolist()) <= reached


def test_obstacles_move_as_the_references():
    id, expected = "MiniGrid-Dynamic-Obstacles-6x6-v0", []
    env = make(id, 1600, seed=5)
    env.reset()
    before = env.state["balls"].clone()
    advance, seen = env._advance, []
    env._advance = lambda *inputs: seen.append(advance(*inputs)) or seen[-1]
    env.step(torch.zeros(1600, dtype=torch.int64))
    moves = (seen[0][1]["balls"] - before).numpy()
    env = gymnasium.make(id).unwrapped
    for seed in range(800):
        env.reset(seed=seed)
        start = [ball.cur_pos[1] * 6 + ball.cur_pos[0] for ball in env.obstacles]
        env.step(0)
        end = [ball.cur_pos[1] * 6 + ball.cur_pos[0] for ball in env.obstacles]
        expected.append(np.subtract(end, start))
    for ball in range(3):
        assert p_value(moves[:, ball], np.array(expected)[:, ball]) > 1e-3


def test_distinct_numbers_are_uniform_over_what_is_left():
    keys = rng.lane_keys([0], 40_000, "test")
    words = rng.bits(keys, 0, torch.arange(3)[:, None])
    fixed = torch.full((40_000,), 2)
    found = Counter(map(tuple, torch.stack(distinct(words, 5, [fixed]), dim=1).tolist()))
    assert len(found) == 4 * 3 * 2
    assert all(2 not in row and len(set(row)) == 3 for row in found)
    assert chisquare(list(found.values())).pvalue > 1e-3
