"""Seaquest beside the `minatar` package, both fed with the same random words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minatar
import numpy as np
import torch
from oracles.minatar_pair import Pair, Words

#: The reference's attribute, by ours.
SCALARS = {
    "x": "sub_x", "y": "sub_y", "oxygen": "oxygen", "aboard": "diver_count",
    "surface": "surface", "cooldown": "shot_timer", "spawn_speed": "e_spawn_speed",
    "spawn_timer": "e_spawn_timer", "diver_timer": "d_spawn_timer", "move_speed": "move_speed",
    "ramp_index": "ramp_index",
}  # fmt: skip


def at_slot(words: Words, slot: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, drawing from the words of that slot on."""

    def wrapped(*args: Any, **options: Any) -> Any:
        words.cursor = slot
        return function(*args, **options)

    return wrapped


def plain(entries: list[Any]) -> list[list[int]]:
    """Entries of a list as integers."""
    return [[int(value) for value in entry] for entry in entries]


def reference_lists(game: Any) -> dict[str, list[list[int]]]:
    """The reference's objects, oldest first; the order of torpedoes has no effect."""
    return {
        "fish": plain(game.e_fish),
        "subs": plain(game.e_subs),
        "divers": plain(game.divers),
        "bullets": plain(game.f_bullets),
        "torpedoes": sorted(plain(game.e_bullets)),
    }


def entry(place: int, heading: int, *rest: int) -> list[int]:
    """A thing of ours as the reference lists it."""
    assert heading in (1, 255)
    return [(place & 15) - 1, place >> 4, int(heading == 1), *rest]


def our_lists(enemies: Any, divers: Any, bullets: Any) -> dict[str, list[list[int]]]:
    """Objects in the slots of one lane, oldest first, as the reference lists them."""
    enemies, divers, bullets = ([*zip(*planes, strict=True)][::-1] for planes in (
        enemies.tolist(), divers.tolist(), bullets.tolist()))  # fmt: skip
    return {
        "fish": [entry(p, h, t) for p, h, t, sub, _, _ in enemies if p and not sub],
        "subs": [entry(p, h, t, shot) for p, h, t, sub, shot, _ in enemies if p and sub],
        "divers": [entry(*planes) for planes in divers if planes[0]],
        "bullets": [entry(*planes) for planes in bullets if planes[0]],
        "torpedoes": sorted(entry(planes[5], planes[1]) for planes in enemies if planes[5]),
    }


class SeaquestPair(Pair):
    """The same episodes in our environment and in one reference per lane.

    Args:
        lanes: Parallel environments.
        seed: Of our environment.
        endless: Whether both play on after an end.
        **options: As `Pair`.

    Attributes:
        rescues: How often six divers were brought up.
        slots: How many slots of enemies are in use at most, in the last step.
    """

    def __init__(
        self, lanes: int = 64, seed: int = 0, endless: bool = False, **options: Any
    ) -> None:
        self.endless = False  # the first episodes do start
        self.slots = self.rescues = 0
        super().__init__("Seaquest", lanes, seed, **options)
        self.endless = endless
        if endless:
            self.env._restart = lambda done, after, draws: {}

    def _reference(self, sticky: float, ramping: bool) -> minatar.Environment:
        reference = super()._reference(sticky, ramping)
        game = reference.env
        game._spawn_enemy = at_slot(game.random, 1, game._spawn_enemy)
        game._spawn_diver = at_slot(game.random, 4, game._spawn_diver)
        return reference

    def _restart(self, reference: minatar.Environment, words: list[int]) -> None:
        if self.endless:
            reference.env.terminal = False
        else:
            super()._restart(reference, words)

    def step(self, actions: np.ndarray) -> None:
        """Step both and compare, and count rescues."""
        crews = [reference.env.diver_count for reference in self.references]
        super().step(actions)
        for crew, reference in zip(crews, self.references, strict=True):
            self.rescues += crew > 3 and reference.env.diver_count < 0

    def _compare(self, obs: torch.Tensor, states: list[np.ndarray]) -> None:
        self.tally.compare("obs", obs, states)
        state = {name: value.numpy() for name, value in self.env.state.items()}
        games = [reference.env for reference in self.references]
        for ours, theirs in SCALARS.items():
            self.tally.compare(ours, state[ours], [getattr(game, theirs) for game in games])
        self.tally.compare("facing", state["facing"] == 1, [bool(game.sub_or) for game in games])
        held = [reference.last_action for reference in self.references]
        self.tally.compare("last_action", state["last_action"], held)
        slots = zip(state["enemies"], state["divers"], state["bullets"], strict=True)
        for lane, (game, planes) in enumerate(zip(games, slots, strict=True)):
            found, expected = our_lists(*planes), reference_lists(game)
            for name, entries in expected.items():
                self.tally.compare_lane(lane, name, found[name] == entries)
        self.slots = np.flatnonzero(state["enemies"][:, [0, 5]].any((0, 1))).max(initial=-1) + 1

    def inject(self, rng: np.random.Generator) -> None:
        """Change the references to rare states and write what they hold into our environment."""
        state = self.env.state_dict()
        for lane, reference in enumerate(self.references):
            game = reference.env
            rare(rng, game)
            for ours, theirs in SCALARS.items():
                state[ours][lane] = int(getattr(game, theirs))
            state["facing"][lane] = 1 if game.sub_or else -1
            for name, planes in fill(rng, game).items():
                state[name][lane] = torch.from_numpy(planes)
        self.env.load_state_dict(state)
        self.tally.injected += self.tally.lanes

    def policy(self, rng: np.random.Generator) -> np.ndarray:
        """Random actions in half of the lanes, and scripted ones in the others."""
        lanes = self.tally.lanes
        actions = rng.integers(0, 6, lanes)
        for lane, reference in enumerate(self.references[: lanes // 2]):
            actions[lane] = play(rng, reference.env)
        return actions

    def hard(self, rng: np.random.Generator, steps: int) -> int:
        """Play at the highest speeds, and say how many slots were in use at most."""
        most = 0
        for _ in range(steps):
            for reference in self.references:
                reference.env.e_spawn_speed, reference.env.move_speed = 1, 2
            self.env.state["spawn_speed"].fill_(1)
            self.env.state["move_speed"].fill_(2)
            self.step(self.policy(rng))
            most = max(most, int(self.slots))
        return most


def fill(rng: np.random.Generator, game: Any) -> dict[str, np.ndarray]:
    """The slots of one lane for what the reference lists; a bullet of its own has no enemy."""
    lists = {name: entries[::-1] for name, entries in reference_lists(game).items()}
    enemies, divers, bullets = (np.zeros(s, np.uint8) for s in ((6, 32), (3, 4), (2, 2)))
    kinds = [kind for kind in ("fish", "subs", "torpedoes") for _ in lists[kind]]
    taken = dict.fromkeys(lists, 0)
    for slot, kind in enumerate(rng.permutation(kinds)):
        x, y, right, *rest = lists[kind][taken[kind]]
        taken[kind] += 1
        place, heading = 16 * y + x + 1, 1 if right else 255
        if kind == "torpedoes":
            enemies[:, slot] = (0, heading, 0, 0, 0, place)
        else:
            timer, shot = (*rest, 0)[:2]
            enemies[:, slot] = (place, heading, timer, kind == "subs", shot, 0)
    for planes, name in ((divers, "divers"), (bullets, "bullets")):
        for slot, (x, y, right, *rest) in enumerate(lists[name]):
            planes[:, slot] = (16 * y + x + 1, 1 if right else 255, *rest)
    return {"enemies": enemies, "divers": divers, "bullets": bullets}


def rare(rng: np.random.Generator, game: Any) -> None:
    """Stacked enemies, many bullets, odd numbers of divers, hardly any oxygen, fast ramps."""
    integer, flag = (lambda *args: int(rng.integers(*args))), (lambda: bool(rng.integers(2)))
    game.oxygen = int(rng.choice([0, 1, 2, 19, 20, 21, 150, 200]))
    game.diver_count = int(rng.choice([-2, -1, 0, 1, 4, 5, 6]))
    game.sub_x, game.sub_y = integer(10), int(rng.choice([0, 1, integer(9)]))
    game.sub_or = {0: False, 9: True}.get(game.sub_x, flag())
    game.surface = game.sub_y == 0 and flag()
    game.e_spawn_speed, game.move_speed = int(rng.choice([1, 2, 3, 20])), integer(2, 6)
    game.e_spawn_timer, game.d_spawn_timer = integer(3), integer(3)
    game.ramp_index = integer(6)
    # Things crowd in the player's row and in few others, where enemies all head the same way.
    rows = [max(1, game.sub_y), *rng.integers(1, 9, 2).tolist()]
    right = rng.integers(0, 2, 9).tolist()

    def some(most: int, *timers: int) -> list[list[Any]]:
        heads = [int(rng.choice(rows)) for _ in range(integer(most + 1))]
        return [[integer(10), y, bool(right[y]), *[integer(t) for t in timers]] for y in heads]

    game.e_fish, game.e_subs = some(10, 2), some(8, 2, 3)
    game.e_bullets = some(9)
    # Two equal divers never come about: the reference, removing one, could take the other.
    spots = {(int(rng.choice([game.sub_x, integer(10)])), rows[0], flag()) for _ in range(3)}
    chosen = sorted(spots)[: integer(4)]
    pause = integer(3)
    game.divers = [[*chosen[index], pause] for index in rng.permutation(len(chosen))]
    if rng.random() < 0.2:
        # All 32 slots in use, with no spawn to come.
        game.e_bullets = [[x, y, flag()] for x in range(10) for y in rows]
        game.e_bullets = game.e_bullets[: 32 - len(game.e_fish) - len(game.e_subs)]
        game.e_spawn_timer = 10
    # As in play: the player never overtakes its bullets, and has two in flight at most.
    game.f_bullets, game.shot_timer = [], 4
    columns = [x for x in range(10) if x != game.sub_x]
    for x in rng.choice(columns, integer(3), replace=False).tolist():
        game.f_bullets.append([x, int(rng.choice(rows)), x > game.sub_x])
    if len(game.f_bullets) < 2:
        game.shot_timer = integer(6)


def play(rng: np.random.Generator, game: Any) -> int:
    """One lane's action: hunts, collects divers and surfaces with six or when short of air."""
    if rng.random() < 0.1:
        return int(rng.integers(6))
    if game.diver_count > 0 and (game.diver_count == 6 or game.oxygen < 40):
        return 2
    for x, y, *_ in game.e_fish + game.e_subs:
        if y == game.sub_y and abs(x - game.sub_x) < 5 and game.shot_timer == 0:
            return 5 if (x > game.sub_x) == bool(game.sub_or) else 3 if x > game.sub_x else 1
    if game.divers:
        x, y = min((abs(d[0] - game.sub_x) + abs(d[1] - game.sub_y), d[:2]) for d in game.divers)[1]
        if y != game.sub_y and (game.diver_count or y > game.sub_y or game.sub_y > 1):
            return 4 if y > game.sub_y else 2
        return 3 if x > game.sub_x else 1 if x < game.sub_x else 0
    return int(rng.choice([1, 3])) if game.sub_y else 0
