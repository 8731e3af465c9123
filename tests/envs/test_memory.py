"""A state that stays in its memory goes on as one that is made anew at every step."""

import pytest
import torch

from neoteny import envs
from neoteny.envs.memory import FixedMemory

KINDS = ["MinAtar-Asterix", "MinAtar-Seaquest", "Acrobot", "Pendulum", "MiniGrid-DoorKey-5x5"]


@pytest.mark.parametrize("name", KINDS)
def test_steps_in_held_memory_equal_others(name):
    free, held = (envs.make(name, 6, members=2, seed=3, max_steps=7) for _ in range(2))
    free.reset()
    held.reset()
    held.hold_memory()
    places = {field: value.data_ptr() for field, value in held.state.items()}
    generator = torch.Generator().manual_seed(0)
    for t in range(20):
        shape = (12, *free.single_action_space.shape)
        draw = torch.randint(0, 3, shape, generator=generator)
        action = draw if shape == (12,) else draw - 1.0
        for ours, others in zip(held.step(action)[:4], free.step(action)[:4], strict=True):
            assert torch.equal(ours, others)
        if t == 10:
            mask = torch.arange(12) % 3 == 0
            restarted = [env.reset(options={"reset_mask": mask})[0] for env in (held, free)]
            assert torch.equal(*restarted)
    for field, value in free.state.items():
        assert torch.equal(held.state[field], value), field
        assert held.state[field].data_ptr() == places[field], field


def test_fields_that_swap_places_are_copied_first():
    memory = FixedMemory({"a": torch.tensor([1]), "b": torch.tensor([2])})
    state = memory.state
    memory.write({"a": state["b"], "b": state["a"]})
    assert (state["a"].item(), state["b"].item()) == (2, 1)


def test_what_the_host_decides_is_known_by_its_key():
    env = envs.make("CartPole", 4)
    env.reset()
    key = env.steady(8)
    env.step(torch.zeros(4, dtype=torch.int64))
    assert env.steady(8) == key
    env.reset(seed=5)
    assert env.steady(8) != key, "another state in other memory"
