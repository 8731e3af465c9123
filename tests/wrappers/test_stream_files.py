import json

import numpy as np
import pytest
import torch

from neoteny import envs
from neoteny.core.errors import InputError
from neoteny.core.yaml_files import read_yaml
from neoteny.wrappers import (
    Asynchronous,
    Cyclic,
    Dynamics,
    NonStationaryVector,
    ObservationDropout,
    ObservationPermutation,
    OnReturn,
    RewardFlip,
    TaskSwitch,
    make_stream,
    read_stream,
)

FULL = """
name: shuffled breakout
environments: {id: MinAtar-Breakout, name: Breakout, options: {sticky: 0.0}}
schedule: {kind: Cyclic, period: 90, tasks: 3}
changes:
  - RewardFlip
  - {kind: ObservationPermutation, over: channels}
on_switch: reset
options: {max_steps: 50}
"""


@pytest.fixture
def written(tmp_path):
    """Writes a stream file and reads it."""

    def read(text, name="mine.yaml"):
        (tmp_path / name).write_text(text)
        return read_stream(tmp_path / name)

    return read


def test_a_file_says_the_same_as_python(written, toy):
    stream = written(FULL)
    ours = make_stream(stream, 4, 2, seed=7)
    env = envs.make("MinAtar-Breakout", 4, 2, seed=7, sticky=0.0, max_steps=50)
    shuffle = ObservationPermutation((10, 10, 4), 3, (7, 8), "channels")
    theirs = NonStationaryVector(env, Cyclic(90, 3), [RewardFlip(), shuffle])
    assert ours.changes == theirs.changes
    assert ours.schedule == theirs.schedule
    assert ours.task_names == ["Breakout", "Breakout task 1", "Breakout task 2"]
    np.testing.assert_array_equal(ours.reset()[0], theirs.reset()[0])
    for a, b in zip(
        vars(toy.record(ours, 60)).values(), vars(toy.record(theirs, 60)).values(), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_the_definition_is_made_of_json_types(written):
    stored = json.loads(json.dumps(written(FULL).to_dict()))
    assert stored["name"] == "shuffled breakout"
    assert stored["environments"][0]["id"] == "neoteny/MinAtar-Breakout-v0"
    assert stored["changes"][1] == {"kind": "ObservationPermutation", "over": "channels"}
    assert stored["schedule"] == {"kind": "Cyclic", "period": 90, "tasks": 3}


def test_a_period_left_out_is_that_of_the_command_line_in_whole_iterations(written):
    text = "environments: CartPole-v1\nschedule: {kind: Cyclic, tasks: 2}\nchanges: [RewardFlip]"
    stream = make_stream(written(text), 4, task_steps=100, steps_per_iteration=64)
    assert stream.boundaries(300) == [128, 256]
    given = text.replace("tasks: 2", "tasks: 2, period: 70")
    stream = make_stream(written(given), 4, task_steps=100, steps_per_iteration=64)
    assert stream.boundaries(300) == [128, 256]


def test_several_environments_are_a_chain_that_changes_can_join(written):
    text = """
environments: [MiniGrid-Empty-5x5, {id: MiniGrid-DoorKey-5x5, name: key}]
options: {encoding: onehot}
schedule: {kind: RandomOrder, period: 40}
"""
    chain = make_stream(written(text), 4, 2, seed=3)
    assert isinstance(chain, TaskSwitch)
    assert chain.task_names == ["neoteny/MiniGrid-Empty-5x5-v0", "key"]
    orders = [np.random.default_rng(seed).permutation(2).tolist() for seed in (3, 4)]
    assert [chain.tasks_at(0), chain.tasks_at(40)] == np.array(orders).T.tolist()
    dropped = make_stream(written(text + "changes: [{kind: ObservationDropout, fraction: 0.5}]"), 4)
    plain = make_stream(written(text), 4)
    change = ObservationDropout((7, 7, 24), 2, 0.5, seed=0)
    obs, raw = dropped.reset()[0], plain.reset()[0]
    for step in range(25):
        assert torch.equal(obs, change.observation(raw, plain.tasks_at(4 * step)[0]))
        action = torch.full((4,), step % 3)
        ours, theirs = dropped.step(action), plain.step(action)
        obs, raw = ours[0], theirs[0]
        final = change.observation(theirs[4]["final_obs"], plain.tasks_at(4 * step)[0])
        assert torch.equal(ours[4]["final_obs"][ours[3]], final[ours[3]])
        assert torch.equal(ours[3], theirs[3])
        assert torch.equal(ours[4].get("cut", ours[3]), theirs[4].get("cut", theirs[3]))


@pytest.mark.parametrize(
    ("schedule", "kind"),
    [
        ("{kind: OnReturn, threshold: 15, every: 500, tasks: 2}", OnReturn),
        ("{kind: Asynchronous, spread: 100, base: {kind: Cyclic, tasks: 2}}", Asynchronous),
    ],
)
def test_irregular_schedules_can_be_asked_for(written, schedule, kind):
    change = "{kind: Dynamics, parameter: length, values: [0.5, 1]}"
    text = f"environments: CartPole-v1\nchanges: [{change}]\nschedule: {schedule}"
    stream = make_stream(written(text), 4, task_steps=200)
    stream.reset()
    assert isinstance(stream.schedule.members[0], kind)
    assert stream.changes == (Dynamics("length", (0.5, 1.0)),)
    for _ in range(60):
        stream.step(torch.zeros(4, dtype=torch.int64))


def test_a_python_file_may_hold_changes_of_its_own(written):
    text = """
from neoteny.wrappers import Change, Cyclic

class Tenfold(Change):
    def reward(self, reward, task, step=0):
        return reward * 10 ** task

def stream():
    return {"environments": "CartPole-v1", "schedule": Cyclic(40, 2), "changes": [Tenfold()]}
"""
    stream = written(text, "mine.py")
    env = make_stream(stream, 2)
    env.reset()
    rewards = [env.step(torch.zeros(2, dtype=torch.int64))[1][0].item() for _ in range(40)]
    assert rewards == [1.0] * 20 + [10.0] * 20
    assert json.loads(json.dumps(stream.to_dict()))["changes"] == [{"kind": "Tenfold"}]


CARTPOLE = "environments: CartPole-v1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"mine.yaml: holds None; give keys such as environments:"),
        ("schedule: {kind: Cyclic}", "mine.yaml: environments is missing; name an environment"),
        ("environments: []", "mine.yaml: environments: is empty"),
        ("environments: [3]", "environments: 3 is no environment; give an id"),
        ("environments: MinAtar-Brekout", "environments: unknown environment .* did you mean"),
        (
            "environments: {id: CartPole-v1, option: {}}",
            "key 'option' is unknown: did you mean 'opt",
        ),
        (CARTPOLE + "shedule: 3", "key 'shedule' is unknown: did you mean 'schedule'"),
        (CARTPOLE + "schedule: {kind: Cyclik}", "schedule: schedule kind 'Cyclik' is unknown: did"),
        (CARTPOLE + "schedule: {period: 3}", "schedule kind None is unknown: use one of"),
        (CARTPOLE + "schedule: {kind: Cyclic, perod: 3}", "key 'perod' is unknown: did you mean"),
        (CARTPOLE + "schedule: [1]", r"schedule: \[1\] must be a mapping with kind:, one of"),
        (CARTPOLE + "changes: [RewardFlop]", r"changes\[0\]: .* did you mean 'RewardFlip'"),
        (CARTPOLE + "on_switch: later", "on_switch: on_switch must be one of reset, latch, now"),
        (CARTPOLE + "options: 3", "options: must be a mapping of names to values, got 3"),
        (CARTPOLE + "options: {1: 3}", "line 2 has the key 1; keys are texts"),
        (CARTPOLE + "changes: [null]", r"changes\[0\]: is empty; give a kind such as"),
        (CARTPOLE + "changes: [{kind: [1]}]", r"kind \[1\] is unknown: use one of"),
        (CARTPOLE + "name: {a: b}", "name: must be of 1 to 100 printable letters, got"),
        (CARTPOLE + 'name: "a\\nb"', "name: must be of 1 to 100 printable letters"),
        (CARTPOLE + "task_names: [null]", "task_names: must be of 1 to 100 printable letters"),
        ("environments: {id: CartPole-v1, options: [1]}", "options: must be a mapping of names"),
        (CARTPOLE + "changes: [RewardFlip]\nchanges: []", "line 3 has the key 'changes' for a sec"),
        ("environments: [&a CartPole-v1, *a]", "line 1 has an anchor"),
        (CARTPOLE + "name: !!python/name:os.system", "line 2 has the tag tag:yaml.org,2002:python"),
        ("environments: " + "[" * 500, "line 1 is nested more than 20 deep"),
        (CARTPOLE + "name: " + "a" * 100_000, "has more than 100,000 bytes"),
        (CARTPOLE + "schedule: {kind: Cyclic, tasks: " + "9" * 5000 + "}", "cannot be read"),
        (CARTPOLE + "task_names: a", "task_names: must be a list of names, got 'a'"),
        ("environments: [CartPole-v1, Acrobot-v1]\non_switch: now", "must be reset for a chain"),
        ("environments: [a: b", "is not valid YAML: .* line 1"),
    ],
)
def test_malformed_files_are_refused_when_read(written, text, message):
    with pytest.raises(ValueError, match=message) as error:
        written(text)
    assert "\n" not in str(error.value)


FLIP = "changes: [RewardFlip]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            CARTPOLE + "schedule: {kind: Cyclic, tasks: 2, period: 1.5}",
            "period is 1.5: it must be a whole number",
        ),
        (CARTPOLE + "schedule: {kind: Cyclic}", "schedule: Cyclic lacks its field 'tasks'"),
        (CARTPOLE + FLIP + "schedule: {kind: Periodic}", "changes: tasks: say how many tasks"),
        (CARTPOLE + FLIP + "schedule: {kind: Sinusoidal}", "changes: RewardFlip.* knows no way"),
        (CARTPOLE + "changes: [{kind: Dynamics, parameter: mass, values: [1, 2]}]", "lacks; its"),
        (CARTPOLE + "changes: [{kind: LabelNoise, classes: 2, fractions: 0.1}]", "acts on label"),
        (CARTPOLE + "changes: [{kind: StickyActions}]", r"changes\[0\]: StickyActions lacks its"),
        (CARTPOLE + "options: {seed: 1}", "options: option 'seed' is none of the environment's"),
        (CARTPOLE + "options: {max_steps: true}", "max_steps is True: it must be a whole number"),
        (
            CARTPOLE + "changes: [{kind: ObservationOffset, keep_first: nope, tasks: 2}]",
            "keep_first is 'nope': it must be true or false",
        ),
        (
            CARTPOLE + "schedule: {kind: OnReturn, threshold: .inf, every: 9, tasks: 2}",
            "threshold is inf: it must be a finite number",
        ),
        (
            "environments: [CartPole-v1, CartPole-v1]\nschedule: {kind: Cyclic, tasks: 3}",
            "tasks is 3, but there are 2 environments",
        ),
        (CARTPOLE + "options: {stick: 1}", "mine: environments: .* has no option 'stick'"),
        ("environments: [CartPole-v1, Acrobot-v1]", "environments: .*has observations"),
        (
            "environments: [MinAtar-Breakout, MinAtar-Freeway]\noptions: {channels: 10}\n"
            "schedule: {kind: Sinusoidal}",
            "cannot switch environments: all lanes must switch at once",
        ),
    ],
)
def test_what_does_not_fit_is_refused_when_built(written, text, message):
    stream = written(text)
    with pytest.raises(ValueError, match=message) as error:
        make_stream(stream, 2)
    assert "\n" not in str(error.value)


def test_words_and_numbers_are_those_of_yaml_1_2(tmp_path):
    file = tmp_path / "words.yaml"
    file.write_text("{a: [yes, no, on, off], b: 1e-1, c: 010, d: 2020-01-01, e: 1:30, f: 1_000}")
    assert read_yaml(file) == {
        "a": ["yes", "no", "on", "off"],
        "b": 0.1,
        "c": 10,
        "d": "2020-01-01",
        "e": "1:30",
        "f": 1000,
    }


def test_a_whole_float_and_the_words_for_no_are_taken(written):
    text = CARTPOLE + "schedule: {kind: Cyclic, tasks: 2, period: 1e5}\n"
    text += "changes: [{kind: ObservationOffset, keep_first: no}]"
    stream = make_stream(written(text), 1)
    assert stream.schedule.members[0] == Cyclic(100_000, 2)
    assert stream.changes[0].keep_first is False


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ("import sys; sys.exit(3)", InputError, r"mine\.py: stream\(\) calls sys.exit\(3\)"),
        ("return Cyclic(0, 2)", InputError, r"mine\.py: stream\(\): period is 0"),
        ("raise ValueError('mine')", ValueError, "^mine"),
        ("return None", InputError, "mine.py: holds None; give keys"),
        ("x = = 3", InputError, r"mine\.py:3: is not Python: invalid syntax"),
    ],
)
def test_errors_of_a_python_file_name_it(written, body, kind, message):
    text = f"from neoteny.wrappers import Cyclic\ndef stream():\n    {body}\n"
    with pytest.raises(ValueError, match=message) as error:
        written(text, "mine.py")
    assert type(error.value) is kind
    if kind is ValueError:
        assert "mine.py: stream()" in error.value.__notes__[0]


def test_a_kind_of_ones_own_cannot_take_the_name_of_another(written):
    text = "from neoteny.wrappers import Change\nclass RewardFlip(Change):\n    label = max\n"
    with pytest.raises(InputError, match="change kind 'RewardFlip' is there already"):
        written(text, "mine.py")


def test_files_that_cannot_be_read_are_refused(written, tmp_path):
    with pytest.raises(ValueError, match=r"gone\.yaml does not exist"):
        read_stream(tmp_path / "gone.yaml")
    with pytest.raises(ValueError, match=r"is a folder; give a \.yaml or \.py file in it"):
        read_stream(tmp_path)
    with pytest.raises(ValueError, match=r"must end in \.yaml, \.yml or \.py"):
        written("a: b", "mine.toml")
    with pytest.raises(ValueError, match=r"has no function stream\(\)"):
        written("x = 1", "mine.py")
