"""More environments than the memory holds are refused before any is made."""

import gymnasium
import pytest

from neoteny import envs
from neoteny.core.available_memory import memory
from neoteny.core.errors import InputError

MAKERS = {
    "make_vec": lambda count: gymnasium.make_vec("neoteny/CartPole-v1", num_envs=count),
    "device": lambda count: envs.make("MinAtar-Breakout-v0", count),
    "members": lambda count: envs.make("MiniGrid-Empty-5x5-v0", 1, count),
    "host": lambda count: envs.make("CartPole-v1", count, backend="host"),
    "workers": lambda count: envs.make("CartPole-v1", count, backend="host", vectorization="async"),
    "stream": lambda count: envs.make("CartPole-v1", count // 1000, 1000),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_a_billion_environments_are_refused(maker):
    with pytest.raises(
        InputError, match=r"^1,000,000,000 environments would take at least"
    ) as said:
        MAKERS[maker](10**9)
    assert f"more than the {memory('cpu') / 1e9:.0f} GB of cpu: lower num_envs" in str(said.value)


@pytest.mark.parametrize(
    ("options", "each"),
    [
        ({"id": "CartPole-v1"}, 500 + 2 * 4 * 4),
        ({"id": "MinAtar-Freeway-v0"}, 500 + 2 * 10 * 10 * 7),
        ({"id": "CartPole-v1", "backend": "host"}, 3_000),
        ({"id": "CartPole-v1", "backend": "host", "vectorization": "async"}, 10_000_000),
    ],
)
def test_more_environments_than_the_memory_holds_are_refused(options, each, monkeypatch):
    """As little as they take at the least, times members and lanes."""
    monkeypatch.setattr("neoteny.core.available_memory.memory", lambda device: 6 * each)
    envs.make(**options, num_envs=2, members=3).close()
    monkeypatch.setattr("neoteny.core.available_memory.memory", lambda device: 6 * each - 1)
    with pytest.raises(InputError, match=r"^6 environments would take at least"):
        envs.make(**options, num_envs=2, members=3)
