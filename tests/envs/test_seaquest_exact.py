"""Step-exactness of Seaquest against the `minatar` package, fed with the same random words."""

from functools import cache

import minatar
import numpy as np
import pytest
import torch

from neoteny.envs import make

LANES = 64
#: Ours, by the reference's attribute.
SCALARS = {
    "x": "sub_x", "y": "sub_y", "oxygen": "oxygen", "aboard": "diver_count",
    "surface": "surface", "cooldown": "shot_timer", "spawn_speed": "e_spawn_speed",
    "spawn_timer": "e_spawn_timer", "diver_timer": "d_spawn_timer", "move_speed": "move_speed",
    "ramp_index": "ramp_index",
}  # fmt: skip


class Words:
    """Stands in for a RandomState: hands out given 32-bit words, in order."""

    def __init__(self):
        self.words, self.cursor = [], 0

    def rand(self):
        return (self._next() + 0.5) / 2**32

    def randint(self, low, high):
        return low + ((self._next() * (high - low)) >> 32)

    def _next(self):
        self.cursor += 1
        return self.words[self.cursor - 1]


def at_slot(words, slot, function):
    """The function, drawing from the words of that slot on."""

    def wrapped(*args, **options):
        words.cursor = slot
        return function(*args, **options)

    return wrapped


def plain(entries):
    return [[int(value) for value in entry] for entry in entries]


def reference_lists(game):
    return {
        "fish": plain(game.e_fish),
        "subs": plain(game.e_subs),
        "divers": plain(game.divers),
        "bullets": plain(game.f_bullets),
        "torpedoes": sorted(plain(game.e_bullets)),
    }


def entry(place, heading, *rest):
    assert heading in (1, 255)
    return [(place & 15) - 1, place >> 4, int(heading == 1), *rest]


def our_lists(enemies, divers, bullets):
    """What the slots of one lane hold, oldest first, as the reference lists it."""
    enemies, divers, bullets = ([*zip(*planes, strict=True)][::-1] for planes in (
        enemies.tolist(), divers.tolist(), bullets.tolist()))  # fmt: skip
    return {
        "fish": [entry(p, h, t) for p, h, t, sub, _, _ in enemies if p and not sub],
        "subs": [entry(p, h, t, shot) for p, h, t, sub, shot, _ in enemies if p and sub],
        "divers": [entry(*planes) for planes in divers if planes[0]],
        "bullets": [entry(*planes) for planes in bullets if planes[0]],
        "torpedoes": sorted(entry(planes[5], planes[1]) for planes in enemies if planes[5]),
    }


class Pair:
    """The same episodes in our environment and in one reference per lane."""

    def __init__(self, seed=0, endless=False, **options):
        self.env = make("MinAtar-Seaquest", LANES, seed=seed, **options)
        self.endless = endless
        if endless:
            self.env._restart = lambda done, after, draws: {}
        self.references = []
        for _ in range(LANES):
            reference = minatar.Environment(
                "seaquest",
                sticky_action_prob=options.get("sticky", 0.1),
                difficulty_ramping=options.get("ramping", True),
            )
            game, words = reference.env, Words()
            reference.random = game.random = words
            game._spawn_enemy = at_slot(words, 1, game._spawn_enemy)
            game._spawn_diver = at_slot(words, 4, game._spawn_diver)
            reference.reset()
            self.references.append(reference)
        obs, _ = self.env.reset()
        self.compare(obs, [reference.state() for reference in self.references])
        self.steps = self.episodes = self.rescues = self.slots = 0
        self.reward = 0.0

    def step(self, actions):
        words = self.env._draw(self.env.state["t_env"]).T.tolist()
        obs, reward, terminated, _, info = self.env.step(torch.as_tensor(actions))
        results, finals, states = [], [], []
        for reference, action, row in zip(self.references, actions, words, strict=True):
            reference.random.words, reference.random.cursor = row, 0
            crew = reference.env.diver_count
            results.append(reference.act(int(action)))
            finals.append(reference.state())
            self.rescues += crew > 3 and reference.env.diver_count < 0
            if results[-1][1] and self.endless:
                reference.env.terminal = False
            elif results[-1][1]:
                reference.reset()
            states.append(reference.state() if results[-1][1] else finals[-1])
        np.testing.assert_array_equal(reward.numpy(), [result[0] for result in results])
        np.testing.assert_array_equal(terminated.numpy(), [result[1] for result in results])
        np.testing.assert_array_equal(info["final_obs"].numpy(), finals)
        self.compare(obs, states)
        self.steps += LANES
        self.episodes += int(terminated.sum())
        self.reward += float(reward.sum())

    def compare(self, obs, states):
        np.testing.assert_array_equal(obs.numpy(), states)
        state = {name: value.numpy() for name, value in self.env.state.items()}
        games = [reference.env for reference in self.references]
        for ours, theirs in SCALARS.items():
            np.testing.assert_array_equal(
                state[ours], [getattr(game, theirs) for game in games], err_msg=ours
            )
        np.testing.assert_array_equal(state["facing"] == 1, [game.sub_or for game in games])
        held = [reference.last_action for reference in self.references]
        np.testing.assert_array_equal(state["last_action"], held)
        slots = zip(state["enemies"], state["divers"], state["bullets"], strict=True)
        for game, planes in zip(games, slots, strict=True):
            assert our_lists(*planes) == reference_lists(game)
        self.slots = np.flatnonzero(state["enemies"][:, [0, 5]].any((0, 1))).max(initial=-1) + 1

    def inject(self, rng, change):
        """Changes the references and copies what they hold into our environment."""
        state = self.env.state_dict()
        for lane, reference in enumerate(self.references):
            game = reference.env
            change(rng, game)
            for ours, theirs in SCALARS.items():
                state[ours][lane] = int(getattr(game, theirs))
            state["facing"][lane] = 1 if game.sub_or else -1
            planes = fill(rng, game)
            for name in planes:
                state[name][lane] = torch.from_numpy(planes[name])
        self.env.load_state_dict(state)


def fill(rng, game):
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


def rare(rng, game):
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

    def some(most, *timers):
        heads = [int(rng.choice(rows)) for _ in range(integer(most + 1))]
        return [[integer(10), y, bool(right[y]), *[integer(t) for t in timers]] for y in heads]

    game.e_fish, game.e_subs = some(10, 2), some(8, 2, 3)
    game.e_bullets = some(9)
    # Two equal divers never come about: the reference, removing one, could take the other.
    spots = {(int(rng.choice([game.sub_x, integer(10)])), rows[0], flag()) for _ in range(3)}
    spots = sorted(spots)[: integer(4)]
    pause = integer(3)
    game.divers = [[*spots[index], pause] for index in rng.permutation(len(spots))]
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


def play(rng, game):
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


def policy(pair, rng):
    """Random actions in half of the lanes, and scripted ones in the others."""
    actions = rng.integers(0, 6, LANES)
    for lane, reference in enumerate(pair.references[: LANES // 2]):
        actions[lane] = play(rng, reference.env)
    return actions


def report(pair):
    print(
        f"{pair.steps} steps exact, {pair.episodes} terminals, reward {pair.reward:.0f},"
        f" {pair.rescues} rescues, {pair.slots} slots"
    )


def hard(pair, rng, steps):
    """Plays on after terminals at the highest speeds."""

    most = 0
    for _ in range(steps):
        for reference in pair.references:
            reference.env.e_spawn_speed, reference.env.move_speed = 1, 2
        pair.env.state["spawn_speed"].fill_(1)
        pair.env.state["move_speed"].fill_(2)
        pair.step(policy(pair, rng))
        most = max(most, int(pair.slots))
    return most


def test_seaquest_equals_minatar_step_by_step():
    rng, pair = np.random.default_rng(1), Pair()
    for _ in range(500):
        pair.step(policy(pair, rng))
    report(pair)
    assert pair.reward > 100


def test_seaquest_equals_minatar_at_full_speed_without_an_end():
    rng, pair = np.random.default_rng(2), Pair(seed=3, endless=True)
    most = hard(pair, rng, 260)
    report(pair)
    assert most > 16
    assert pair.rescues > 0


def test_seaquest_equals_minatar_from_rare_states():
    rng, pair = np.random.default_rng(4), Pair(seed=5)
    for _ in range(60):
        pair.inject(rng, rare)
        for _ in range(4):
            pair.step(policy(pair, rng))
    report(pair)
    assert pair.rescues > 0


def test_ramping_off_and_no_sticky_actions_equal_minatar():
    rng, pair = np.random.default_rng(6), Pair(seed=7, ramping=False, sticky=0.0)
    for _ in range(5):
        pair.inject(rng, rare)
        for _ in range(4):
            pair.step(policy(pair, rng))


@pytest.mark.slow
def test_seaquest_equals_minatar_over_a_long_run():
    rng, pair = np.random.default_rng(8), Pair(seed=11)
    for _ in range(4000):
        pair.step(policy(pair, rng))
    report(pair)
    for _ in range(600):
        pair.inject(rng, rare)
        for _ in range(4):
            pair.step(policy(pair, rng))
    report(pair)
    pair = Pair(seed=12, endless=True)
    most = hard(pair, rng, 3000)
    report(pair)
    assert 20 < most <= 30


def test_an_enemy_sees_at_most_29_later_spawns():
    """The most spawns in an enemy's life, over all ways to surface from its step on."""

    @cache
    def most(left, timer, wait, ramps, may_ramp):
        if timer == 0:
            left, timer = left - 1, max(2, 5 - ramps // 2)
            if left == 0:
                return 0
        else:
            timer -= 1
        wait = max(0, wait - 1)
        counts = []
        # Surfacing takes a step under water and one back up: every other step at most.
        for ramp in {False, may_ramp}:
            after = min(ramps + ramp, 19)
            later = most(left, timer, wait or max(1, 20 - after), after, not ramp)
            counts.append(later + (wait == 0))
        return max(counts)

    starts = [(max(2, 5 - ramps // 2), max(1, 20 - ramps), ramps) for ramps in range(20)]
    assert max(most(10, *start, True) for start in starts) == 29


def test_names_and_actions_are_those_of_minatar():
    env, reference = make("MinAtar-Seaquest-v1", 1), minatar.Environment("seaquest")
    assert list(env.game.minimal) == list(reference.minimal_action_set())
    channels = reference.env.channels
    assert list(env.game.channels) == sorted(channels, key=channels.get)
