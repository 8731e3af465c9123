"""MinAtar beside the `minatar` package, both fed with the same random words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minatar
import numpy as np
import torch
from oracles.tally import Tally

from neoteny.envs import make

REFERENCE = {
    "Breakout": "breakout",
    "Asterix": "asterix",
    "Freeway": "freeway",
    "SpaceInvaders": "space_invaders",
    "Seaquest": "seaquest",
}
"""The reference's names of the games."""
RESET_SLOT = {"Freeway": 9}
"""First slot of the words a reset draws, where it is not that of the step."""


class Words:
    """Stands in for a RandomState: hands out given 32-bit words, in order."""

    def __init__(self) -> None:
        self.words: list[int] = []
        self.cursor = 0

    def seek(self, words: list[int], slot: int) -> None:
        """Go on with these words from a slot on."""
        self.words, self.cursor = words, slot

    def rand(self, size: int | None = None) -> Any:
        """A number in (0, 1), or several that tell the words' lowest bits."""
        if size is None:
            return (self._next() + 0.5) / 2**32
        # Freeway draws speeds, then directions: the low bits of the words the speeds came from.
        self.cursor -= size
        return np.array([0.75 if self._next() & 1 else 0.25 for _ in range(size)])

    def randint(self, low: int, high: int | None = None, size: int | None = None) -> Any:
        """Integers from `low` to below `high`."""
        low, high = (0, low) if high is None else (low, high)
        draw = [low + ((self._next() * (high - low)) >> 32) for _ in range(size or 1)]
        return np.array(draw) if size else draw[0]

    def _next(self) -> int:
        self.cursor += 1
        return self.words[self.cursor - 1]


def breakout_state(game: Any) -> dict[str, Any]:
    """The reference's state in our terms."""
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


def asterix_state(game: Any) -> dict[str, Any]:
    """The reference's state in our terms."""
    rows = [0] * 10
    for index, entity in enumerate(game.entities):
        if entity is not None:
            x, y, right, gold = entity
            assert y == index + 1
            rows[y] = 1 + x + 10 * bool(right) + 20 * bool(gold)
    names = ("spawn_speed", "spawn_timer", "move_speed", "move_timer", "ramp_timer", "ramp_index")
    state = {name: getattr(game, name) for name in names}
    return state | {"x": game.player_x, "y": game.player_y, "rows": rows}


def freeway_state(game: Any) -> dict[str, Any]:
    """The reference's state in our terms."""
    assert [car[1] for car in game.cars] == list(range(1, 9))
    return {
        "y": game.pos,
        "move_timer": game.move_timer,
        "clock": game.terminate_timer,
        "car_x": [car[0] for car in game.cars],
        "car_timer": [car[2] for car in game.cars],
        "car_speed": [car[3] for car in game.cars],
    }


def space_invaders_state(game: Any) -> dict[str, Any]:
    """The reference's state in our terms."""
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


def rare_breakout(rng: np.random.Generator, game: Any) -> None:
    """Few bricks, and a ball anywhere."""
    game.ball_x, game.ball_y, game.ball_dir = rng.integers(10), rng.integers(9), rng.integers(4)
    game.last_x, game.last_y, game.pos = rng.integers(10), rng.integers(9), rng.integers(10)
    game.strike = bool(rng.integers(2))
    game.brick_map[:] = 0
    for _ in range(rng.integers(4)):
        game.brick_map[rng.integers(1, 4), rng.integers(10)] = 1


def rare_asterix(rng: np.random.Generator, game: Any) -> None:
    """Rows full or nearly, at high speeds."""
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


def rare_freeway(rng: np.random.Generator, game: Any) -> None:
    """Cars about to hit or to wrap, and a clock that runs out."""
    game.pos, game.move_timer = int(rng.integers(1, 10)), int(rng.integers(4))
    game.terminate_timer = int(rng.integers(4))
    for car in game.cars:
        car[3] = int(rng.integers(1, 6) * rng.choice([-1, 1]))
        car[0], car[2] = int(rng.choice([0, 3, 4, 5, 9])), int(rng.integers(abs(car[3]) + 1))


def rare_space_invaders(rng: np.random.Generator, game: Any) -> None:
    """Aliens anywhere, few or many, with timers that are about to run out."""
    few = rng.random() < 0.5
    game.alien_map[:] = rng.random((10, 10)) < (0.01 if few else 0.3)
    game.alien_map[rng.integers(10), rng.integers(10)] = 1
    game.f_bullet_map[:9] = rng.random((9, 10)) < 0.1
    game.e_bullet_map[:] = rng.random((10, 10)) < 0.05
    game.pos, game.shot_timer = int(rng.integers(10)), int(rng.integers(6))
    game.alien_dir = int(rng.choice([-1, 1]))
    game.enemy_move_interval, game.ramp_index = int(rng.integers(6, 13)), int(rng.integers(7))
    game.alien_move_timer, game.alien_shot_timer = int(rng.integers(3)), int(rng.integers(3))


READ: dict[str, Callable[[Any], dict[str, Any]]] = {
    "Breakout": breakout_state,
    "Asterix": asterix_state,
    "Freeway": freeway_state,
    "SpaceInvaders": space_invaders_state,
}
RARE: dict[str, Callable[[np.random.Generator, Any], None]] = {
    "Breakout": rare_breakout,
    "Asterix": rare_asterix,
    "Freeway": rare_freeway,
    "SpaceInvaders": rare_space_invaders,
}


class Pair:
    """The same episodes in our environment and in one reference per lane.

    Args:
        name: A game in `REFERENCE`, but for Seaquest, which has a pair of its own.
        lanes: Parallel environments.
        seed: Of our environment.
        sticky: Probability of a repeated action.
        ramping: Whether the game gets harder.
    """

    def __init__(
        self,
        name: str,
        lanes: int = 64,
        seed: int = 0,
        sticky: float = 0.1,
        ramping: bool = True,
    ) -> None:
        self.name, self.tally = name, Tally(lanes)
        self.env = make(f"MinAtar-{name}", lanes, seed=seed, sticky=sticky, ramping=ramping)
        self.references = [self._reference(sticky, ramping) for _ in range(lanes)]
        words = self._words(torch.zeros(lanes, dtype=torch.int64))
        for reference, row in zip(self.references, words, strict=True):
            self._restart(reference, row)
        obs, _ = self.env.reset()
        self._compare(obs, [reference.state() for reference in self.references])
        self.episodes, self.reward = 0, 0.0

    def _reference(self, sticky: float, ramping: bool) -> minatar.Environment:
        reference = minatar.Environment(
            REFERENCE[self.name], sticky_action_prob=sticky, difficulty_ramping=ramping
        )
        reference.random, reference.env.random = Words(), Words()
        return reference

    def _words(self, t_env: torch.Tensor) -> Any:
        return self.env._draw(t_env).T.tolist()

    def _restart(self, reference: minatar.Environment, words: list[int]) -> None:
        """Reset the reference after the end of an episode."""
        reference.env.random.seek(words, RESET_SLOT.get(self.name, 1))
        reference.reset()

    def step(self, actions: np.ndarray) -> None:
        """Step both and compare rewards, flags, observations before and after, and states."""
        words = self._words(self.env.state["t_env"])
        obs, reward, terminated, truncated, info = self.env.step(torch.as_tensor(actions))
        results, finals, states = [], [], []
        for reference, action, row in zip(self.references, actions, words, strict=True):
            reference.random.seek(row, 0)
            reference.env.random.seek(row, 1)
            results.append(reference.act(int(action)))
            finals.append(reference.state())
            if results[-1][1]:
                self._restart(reference, row)
            states.append(reference.state() if results[-1][1] else finals[-1])
        rewards, ends = zip(*results, strict=True)
        self.tally.compare("reward", reward, rewards)
        self.tally.compare("terminated", terminated, ends)
        self.tally.compare("truncated", truncated, np.zeros_like(ends))
        self.tally.compare("final_obs", info["final_obs"], finals)
        self._compare(obs, states)
        self.tally.step()
        self.episodes += int(terminated.sum())
        self.reward += float(reward.sum())

    def _compare(self, obs: torch.Tensor, states: list[np.ndarray]) -> None:
        self.tally.compare("obs", obs, states)
        for name, values in self._read().items():
            self.tally.compare(name, self.env.state[name], values)

    def _read(self) -> dict[str, np.ndarray]:
        states = [
            READ[self.name](reference.env) | {"last_action": reference.last_action}
            for reference in self.references
        ]
        return {name: np.array([state[name] for state in states]) for name in states[0]}

    def inject(self, rng: np.random.Generator) -> None:
        """Change the references to rare states and write what they hold into our environment."""
        for reference in self.references:
            RARE[self.name](rng, reference.env)
        state = self.env.state_dict()
        for name, values in self._read().items():
            state[name] = torch.as_tensor(values).to(state[name].dtype)
        self.env.load_state_dict(state)
        self.tally.injected += self.tally.lanes

    def policy(self, rng: np.random.Generator) -> np.ndarray:
        """Random actions, and in half of the lanes a policy that gets far into the game."""
        lanes = self.tally.lanes
        actions = rng.integers(0, 6, lanes)
        skilled = _SKILLED[self.name](rng, self)
        actions[: lanes // 2] = skilled[: lanes // 2]
        return actions


def _skilled_breakout(rng: np.random.Generator, pair: Pair) -> np.ndarray:
    state = {name: value.numpy() for name, value in pair.env.state.items()}
    x, direction = state["ball"] % 10, state["ball"] // 100
    ahead = (x + np.array([-1, 1, 1, -1])[direction]).clip(0, 9)
    # Catching some balls in the column they enter varies the bounce: no endless loops.
    low = state["ball"] // 10 % 10 == 8
    target = np.where(low & (rng.random(len(x)) < 0.5), ahead, x)
    return np.where(target < state["paddle"], 1, np.where(target > state["paddle"], 3, 0))


def _skilled_space_invaders(rng: np.random.Generator, pair: Pair) -> np.ndarray:
    lanes = pair.tally.lanes
    return np.where(rng.random(lanes) < 0.5, 5, rng.choice([1, 3], lanes))


_SKILLED: dict[str, Callable[[np.random.Generator, Pair], np.ndarray]] = {
    "Breakout": _skilled_breakout,
    "Asterix": lambda rng, pair: np.zeros(pair.tally.lanes, int),
    "Freeway": lambda rng, pair: np.full(pair.tally.lanes, 2),
    "SpaceInvaders": _skilled_space_invaders,
}
