"""Step-exactness of the games against the `minatar` package, fed with the same random words."""

import inspect

import minatar
import numpy as np
import pytest
import torch

from neoteny.envs import make

LANES = 64
REFERENCE = {
    "Breakout": "breakout",
    "Asterix": "asterix",
    "Freeway": "freeway",
    "SpaceInvaders": "space_invaders",
}
GAMES = sorted(REFERENCE)


class Words:
    """Stands in for a RandomState: hands out given 32-bit words, in order."""

    def __init__(self):
        self.words, self.cursor = [], 0

    def seek(self, words, slot):
        self.words, self.cursor = words, slot

    def rand(self, size=None):
        if size is None:
            return (self._next() + 0.5) / 2**32
        # Freeway draws speeds, then directions: the low bits of the words the speeds came from.
        self.cursor -= size
        return np.array([0.75 if self._next() & 1 else 0.25 for _ in range(size)])

    def randint(self, low, high=None, size=None):
        low, high = (0, low) if high is None else (low, high)
        draw = [low + ((self._next() * (high - low)) >> 32) for _ in range(size or 1)]
        return np.array(draw) if size else draw[0]

    def _next(self):
        self.cursor += 1
        return self.words[self.cursor - 1]


def breakout_state(game):
    bricks = game.brick_map.astype(bool)
    assert not bricks[[0, 4, 5, 6, 7, 8, 9]].any()
    wall = int((bricks[1:4].reshape(-1) * (1 << np.arange(30))).sum())
    return {
        "paddle": game.pos,
        "ball": 100 * game.ball_dir + 10 * game.ball_y + game.ball_x,
        "trail": 10 * game.last_y + game.last_x,
        "bricks": wall,
        "strike": game.strike,
    }


def asterix_state(game):
    rows = [0] * 10
    for index, entity in enumerate(game.entities):
        if entity is not None:
            x, y, right, gold = entity
            assert y == index + 1
            rows[y] = 1 + x + 10 * bool(right) + 20 * bool(gold)
    names = ("spawn_speed", "spawn_timer", "move_speed", "move_timer", "ramp_timer", "ramp_index")
    state = {name: getattr(game, name) for name in names}
    return state | {"x": game.player_x, "y": game.player_y, "rows": rows}


def freeway_state(game):
    assert [car[1] for car in game.cars] == list(range(1, 9))
    return {
        "y": game.pos,
        "move_timer": game.move_timer,
        "clock": game.terminate_timer,
        "car_x": [car[0] for car in game.cars],
        "car_timer": [car[2] for car in game.cars],
        "car_speed": [car[3] for car in game.cars],
    }


def space_invaders_state(game):
    weights = 1 << np.arange(10)
    return {
        "cannon": game.pos,
        "cooldown": game.shot_timer,
        "aliens": (game.alien_map.astype(int) @ weights).tolist(),
        "shots": (game.f_bullet_map.astype(int) @ weights).tolist(),
        "bombs": (game.e_bullet_map.astype(int) @ weights).tolist(),
        "alive": int(np.count_nonzero(game.alien_map)),
        "direction": game.alien_dir,
        "interval": game.enemy_move_interval,
        "move_timer": game.alien_move_timer,
        "bomb_timer": game.alien_shot_timer,
        "ramp_index": game.ramp_index,
    }


READ = {
    "Breakout": breakout_state,
    "Asterix": asterix_state,
    "Freeway": freeway_state,
    "SpaceInvaders": space_invaders_state,
}
#: First slot of the words a reset draws, where it is not that of the step.
RESET_SLOT = {"Freeway": 9}


class Pair:
    """The same episodes in our environment and in one reference per lane."""

    def __init__(self, name, sticky=0.1, ramping=True, seed=0):
        self.name, self.read = name, READ[name]
        self.env = make(f"MinAtar-{name}", LANES, seed=seed, sticky=sticky, ramping=ramping)
        self.references = []
        for _ in range(LANES):
            reference = minatar.Environment(
                REFERENCE[name], sticky_action_prob=sticky, difficulty_ramping=ramping
            )
            reference.random, reference.env.random = Words(), Words()
            self.references.append(reference)
        words = self.words(torch.zeros(LANES, dtype=torch.int64))
        for reference, row in zip(self.references, words, strict=True):
            self.restart(reference, row)
        obs, _ = self.env.reset()
        self.compare(obs, [reference.state() for reference in self.references])
        self.steps, self.episodes, self.reward = 0, 0, 0.0

    def words(self, t_env):
        return self.env._draw(t_env).T.tolist()

    def restart(self, reference, words):
        reference.env.random.seek(words, RESET_SLOT.get(self.name, 1))
        reference.reset()

    def step(self, actions):
        words = self.words(self.env.state["t_env"])
        obs, reward, terminated, truncated, info = self.env.step(torch.as_tensor(actions))
        results, finals, states = [], [], []
        for reference, action, row in zip(self.references, actions, words, strict=True):
            reference.random.seek(row, 0)
            reference.env.random.seek(row, 1)
            results.append(reference.act(int(action)))
            finals.append(reference.state())
            if results[-1][1]:
                self.restart(reference, row)
                finals[-1], state = finals[-1], reference.state()
            else:
                state = finals[-1]
            states.append(state)
        np.testing.assert_array_equal(reward.numpy(), [result[0] for result in results])
        np.testing.assert_array_equal(terminated.numpy(), [result[1] for result in results])
        assert not truncated.any()
        np.testing.assert_array_equal(info["final_obs"].numpy(), finals)
        self.compare(obs, states)
        self.steps += LANES
        self.episodes += int(terminated.sum())
        self.reward += float(reward.sum())

    def compare(self, obs, states):
        np.testing.assert_array_equal(obs.numpy(), states)
        for name, values in self.reference_state().items():
            np.testing.assert_array_equal(self.env.state[name].numpy(), values, err_msg=name)

    def reference_state(self):
        states = [
            self.read(reference.env) | {"last_action": reference.last_action}
            for reference in self.references
        ]
        return {name: np.array([state[name] for state in states]) for name in states[0]}

    def inject(self, rng, change):
        """Changes the references and copies what they hold into our environment."""
        for reference in self.references:
            change(rng, reference.env)
        state = self.env.state_dict()
        for name, values in self.reference_state().items():
            state[name] = torch.as_tensor(values).to(state[name].dtype)
        self.env.load_state_dict(state)


def inject_breakout(rng, game):
    game.ball_x, game.ball_y, game.ball_dir = rng.integers(10), rng.integers(9), rng.integers(4)
    game.last_x, game.last_y, game.pos = rng.integers(10), rng.integers(9), rng.integers(10)
    game.strike = bool(rng.integers(2))
    game.brick_map[:] = 0
    for _ in range(rng.integers(4)):
        game.brick_map[rng.integers(1, 4), rng.integers(10)] = 1


def inject_asterix(rng, game):
    full = rng.random() < 0.5
    game.entities = [
        [int(rng.integers(10)), y, bool(rng.integers(2)), bool(rng.integers(2))]
        if full or rng.random() < 0.7
        else None
        for y in range(1, 9)
    ]
    game.player_x, game.player_y = int(rng.integers(10)), int(rng.integers(1, 9))
    game.spawn_speed, game.move_speed = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    game.spawn_timer = int(rng.integers(game.spawn_speed + 1))
    game.move_timer = int(rng.integers(game.move_speed + 1))
    game.ramp_timer, game.ramp_index = int(rng.integers(-1, 2)), int(rng.integers(6))


def inject_freeway(rng, game):
    game.pos, game.move_timer = int(rng.integers(1, 10)), int(rng.integers(4))
    game.terminate_timer = int(rng.integers(4))
    for car in game.cars:
        car[3] = int(rng.integers(1, 6) * rng.choice([-1, 1]))
        car[0], car[2] = int(rng.choice([0, 3, 4, 5, 9])), int(rng.integers(abs(car[3]) + 1))


def inject_space_invaders(rng, game):
    few = rng.random() < 0.5
    game.alien_map[:] = rng.random((10, 10)) < (0.01 if few else 0.3)
    game.alien_map[rng.integers(10), rng.integers(10)] = 1
    game.f_bullet_map[:9] = rng.random((9, 10)) < 0.1
    game.e_bullet_map[:] = rng.random((10, 10)) < 0.05
    game.pos, game.shot_timer = int(rng.integers(10)), int(rng.integers(6))
    game.alien_dir = int(rng.choice([-1, 1]))
    game.enemy_move_interval, game.ramp_index = int(rng.integers(6, 13)), int(rng.integers(7))
    game.alien_move_timer, game.alien_shot_timer = int(rng.integers(3)), int(rng.integers(3))


INJECT = {
    "Breakout": inject_breakout,
    "Asterix": inject_asterix,
    "Freeway": inject_freeway,
    "SpaceInvaders": inject_space_invaders,
}


def policy(pair, rng):
    """Random actions, and in half of the lanes a policy that gets far into the game."""
    actions = rng.integers(0, 6, LANES)
    state, half = {name: value.numpy() for name, value in pair.env.state.items()}, LANES // 2
    if pair.name == "Breakout":
        x = state["ball"] % 10
        direction = state["ball"] // 100
        ahead = (x + np.array([-1, 1, 1, -1])[direction]).clip(0, 9)
        # Catching some balls in the column they enter varies the bounce: no endless loops.
        low = state["ball"] // 10 % 10 == 8
        target = np.where(low & (rng.random(LANES) < 0.5), ahead, x)
        skilled = np.where(target < state["paddle"], 1, np.where(target > state["paddle"], 3, 0))
    elif pair.name == "Freeway":
        skilled = np.full(LANES, 2)
    elif pair.name == "SpaceInvaders":
        skilled = np.where(rng.random(LANES) < 0.5, 5, rng.choice([1, 3], LANES))
    else:
        skilled = np.zeros(LANES, int)
    actions[:half] = skilled[:half]
    return actions


@pytest.mark.parametrize("name", GAMES)
def test_games_equal_minatar_step_by_step(name):
    rng = np.random.default_rng(1)
    pair = Pair(name)
    for _ in range(800):
        pair.step(policy(pair, rng))
    print(f"{name}: {pair.steps} steps exact, {pair.episodes} episodes, reward {pair.reward:.0f}")
    assert pair.steps >= 50_000
    assert pair.reward > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", GAMES)
def test_games_equal_minatar_over_a_long_run(name):
    rng = np.random.default_rng(6)
    pair = Pair(name, seed=7)
    for step in range(8000):
        if step % 100 == 0:
            pair.inject(rng, INJECT[name])
        pair.step(policy(pair, rng))
    print(f"{name}: {pair.steps} steps exact, {pair.episodes} episodes, reward {pair.reward:.0f}")


@pytest.mark.parametrize("name", GAMES)
def test_games_equal_minatar_from_rare_states(name):
    rng = np.random.default_rng(2)
    pair = Pair(name, ramping=True, seed=5)
    for _ in range(60):
        pair.inject(rng, INJECT[name])
        for _ in range(4):
            pair.step(rng.integers(0, 6, LANES))
    print(f"{name}: {pair.steps} steps exact after {60 * LANES} injected states")


def test_breakout_refills_the_wall():
    pair = Pair("Breakout", sticky=0.0)
    rng = np.random.default_rng(3)
    last, refills = pair.env.state["bricks"].clone(), 0
    for _ in range(500):
        pair.step(policy(pair, rng))
        bricks, fresh = pair.env.state["bricks"], pair.env.state["elapsed"] == 0
        refills += int(((last == 0) & (bricks != 0) & ~fresh).sum())
        last = bricks.clone()
    print(f"Breakout: {pair.steps} steps exact without sticky actions, {refills} refills")
    assert refills > 0


@pytest.mark.parametrize("name", ["Asterix", "SpaceInvaders"])
def test_ramping_off_equals_minatar(name):
    pair = Pair(name, ramping=False)
    rng = np.random.default_rng(4)
    for _ in range(30):
        pair.inject(rng, INJECT[name])
        for _ in range(4):
            pair.step(policy(pair, rng))


def test_minimal_actions_are_those_of_minatar():
    for name, reference in REFERENCE.items():
        env = make(f"MinAtar-{name}-v1", 1)
        expected = minatar.Environment(reference)
        assert list(env.game.minimal) == list(expected.minimal_action_set())
        assert env.single_action_space.n == len(env.game.minimal)
        channels = sorted(expected.env.channels, key=expected.env.channels.get)
        assert list(env.game.channels) == channels


def test_package_never_imports_minatar():
    for name in GAMES:
        source = inspect.getsource(inspect.getmodule(type(make(f"MinAtar-{name}", 1))))
        assert "import minatar" not in source
