"""Host environments that break the interface or fail: named, whatever steps them."""

import gymnasium
import pytest
import torch
from faulty_envs import FAULTS, Faulty, Unpicklable, alive, third_step

from neoteny.core.errors import InputError, RunError
from neoteny.envs import make

MESSAGES = {
    "none": "step returned None, expected (observation, reward, terminated, truncated, info)",
    "four": "step returned (array([0., 0.], dtype=float32), 1.0, False, {}), expected (obs",
    "no observation": "step returned (None, 1.0, False, False, {}), expected (observation",
    "no reward": "step returned reward None, expected one number",
    "rewards": "step returned reward array([1., 1.]), expected one number",
    "no end": "step returned terminated None, expected one number",
    "shape": " of shape (3,), expected Box(-1.0, 9.0, (2,), float32)",
    "ragged": "returned the observation [[1], [1, 2]] of shape (0,), expected Box",
}


@pytest.fixture(autouse=True)
def faulty():
    gymnasium.register("Faulty-v0", Faulty, disable_env_checker=True)
    yield
    del gymnasium.registry["Faulty-v0"]


@pytest.mark.parametrize(
    ("fault", "vectorization"),
    [
        *((fault, "sync") for fault in MESSAGES),
        *(
            pytest.param(fault, "async", marks=pytest.mark.slow if place % 3 else ())
            for place, fault in enumerate(MESSAGES)
        ),
    ],
)
def test_what_breaks_the_interface_is_one_line_with_the_id(fault, vectorization):
    env = make("Faulty-v0", 2, vectorization=vectorization, fault=fault)
    with pytest.raises(InputError) as found:
        third_step(env)
    message = str(found.value)
    assert "Faulty-v0" in message
    assert MESSAGES[fault] in message
    assert "\n" not in message
    assert not alive()
    env.close()


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(("fault", "message"), [
    ("nan", "returned the observation nan in lane 0 of seed 5: mend the environment"),
    ("inf at the end", "returned the observation inf in lane 0 of seed 5: mend the environment"),
    ("nan reward", "returned the reward nan in lane 0 of seed 5: mend the environment"),
    ("vast reward", "returned the reward -inf in lane 0 of seed 5: mend the environment"),
])  # fmt: skip
def test_what_is_not_finite_ends_the_run_and_is_named(fault, message, vectorization):
    env = make("Faulty-v0", 2, seed=5, vectorization=vectorization, fault=fault)
    with pytest.raises(RunError, match=f"Faulty-v0 {message}"):
        third_step(env)
    env.close()


def test_the_lane_that_is_not_finite_is_named():
    env = make("Faulty-v0", 2, members=2, seed=5, fault="nan reward")
    env.set_parameters(due=[9, 9, 9, 3])
    env.reset()
    four = torch.zeros(4, dtype=torch.int64)
    for _ in range(2):
        env.step(four)
    with pytest.raises(RunError, match="the reward nan in lane 1 of seed 6:"):
        env.step(four)


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(("fault", "error"), [
    ("none", "cannot unpack non-iterable NoneType object"),
    ("four", "not enough values to unpack"),
])  # fmt: skip
def test_a_time_limit_takes_it_apart_before_us(fault, error, vectorization):
    gymnasium.register("Limited-v0", Faulty, max_episode_steps=9, disable_env_checker=True)
    try:
        env = make("Limited-v0", 2, vectorization=vectorization, fault=fault)
        with pytest.raises(InputError, match="Limited-v0: step returned something else") as found:
            third_step(env)
        env.close()
    finally:
        del gymnasium.registry["Limited-v0"]
    assert error in str(found.value)


def test_gymnasiums_checker_takes_the_first_step_apart():
    gymnasium.register("Checked-v0", Faulty)
    try:
        env = make("Checked-v0", 1, fault="none")
        env.reset()
        env.set_parameters(steps=2)
        with pytest.raises(InputError, match="Checked-v0: step returned"):
            env.step(torch.zeros(1, dtype=torch.int64))
    finally:
        del gymnasium.registry["Checked-v0"]


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(("fault", "obs", "paid"), [("column", [0, 0], 1.5), ("list", [0, 1], 2)])
def test_what_is_safe_to_cast_is_cast(fault, obs, paid, vectorization):
    env = make("Faulty-v0", 2, vectorization=vectorization, fault=fault)
    found, reward, terminated, truncated, info = third_step(env)
    assert found.tolist() == info["final_obs"].tolist() == [obs] * 2
    assert reward.tolist() == [paid] * 2
    assert found.dtype == reward.dtype == torch.float32
    assert terminated.tolist() == truncated.tolist() == [False, False]
    env.close()


@pytest.mark.parametrize(("fault", "kind", "text"), [
    ("bug", ValueError, "user bug"), ("unpicklable", Unpicklable, "(1, 2)"),
    ("exit", RuntimeError, "Faulty-v0 ended the program in step"),
])  # fmt: skip
def test_an_error_keeps_its_traceback_and_gains_the_id(fault, kind, text):
    env = make("Faulty-v0", 2, fault=fault)
    with pytest.raises(kind) as found:
        third_step(env)
    assert text in str(found.value)
    notes = "".join(getattr(found.value, "__notes__", [str(found.value)]))
    assert "in step" in notes
    assert "Faulty-v0" in notes
    if fault != "exit":
        assert found.traceback[-1].name == FAULTS[fault].__name__

    workers = make("Faulty-v0", 2, vectorization="async", fault=fault)
    with pytest.raises(RuntimeError) as found:
        third_step(workers)
    message = str(found.value)
    error = "SystemExit" if fault == "exit" else kind.__name__
    assert message.startswith(f"Faulty-v0 raised {error} in step, in a process of its own")
    assert "faulty_envs.py" in message
    assert error in message.splitlines()[-1]
    assert not alive()
    workers.close()


class Broken(Faulty):
    def __init__(self, fault=None, size=3):
        raise TypeError("a bug of the environment's own")


def test_options_that_are_not_taken_are_one_line_and_bugs_are_not():
    with pytest.raises(InputError, match=r"Faulty-v0 with options.*'colour'"):
        make("Faulty-v0", 1, fault="list", colour=3)
    with pytest.raises(InputError, match=r"Faulty-v0 cannot be made.*'fault'"):
        make("Faulty-v0", 1)
    gymnasium.register("Broken-v0", Broken)
    try:
        with pytest.raises(TypeError, match="own") as found:
            make("Broken-v0", 1, size=4)
    finally:
        del gymnasium.registry["Broken-v0"]
    assert not isinstance(found.value, InputError)
    assert found.value.__notes__ == ["raised by the environment Broken-v0 when it was made"]
