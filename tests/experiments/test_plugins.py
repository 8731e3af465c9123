"""Things brought from outside by a file that the command names: one each, and what it does."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from neoteny.core.errors import InputError
from neoteny.core.own_code import run_file
from neoteny.experiments.main import main
from neoteny.experiments.options.config import CompareConfig
from neoteny.experiments.options_by_name import configure
from neoteny.experiments.run.memory import COSTS
from neoteny.plasticity.interventions import canonical

INTERVENTION = '''
from dataclasses import dataclass
from typing import ClassVar

from neoteny.plasticity.interventions import Intervention


@dataclass
class Shrink(Intervention):
    """Multiply every parameter by a factor after each update."""

    name: ClassVar[str] = "shrink"
    factor: float = 0.999

    def after_step(self, learner, obs):
        for parameter in learner.network.parameters():
            parameter.mul_(self.factor)
        self.state["activity"] += 1
'''

CHANGE = '''
from dataclasses import dataclass

from neoteny.wrappers import Change


@dataclass(frozen=True)
class RewardOffset(Change):
    """Task t pays t times the offset more for every step."""

    offset: float

    def reward(self, reward, task, step=0):
        return reward + self.offset * task
'''

DIAGNOSTIC = '''
from neoteny.plasticity.diagnostics import DIAGNOSTICS, Weights


@DIAGNOSTICS.of(Weights)
def mean_square(layer: Weights):
    """Mean of the squared weights."""
    return layer.matrix.square().mean((1, 2))
'''

AGENT = '''
from dataclasses import dataclass

import torch

from neoteny.agents import Agent, AgentConfig, HeadSpec, Learner, Network
from neoteny.agents.distributions import action_distribution
from neoteny.core import rng
from neoteny.plasticity.optimizer_settings import TASK_STEPS, OptimizerSettings


@dataclass(frozen=True)
class ReinforceConfig(AgentConfig):
    num_envs: int = 8
    num_steps: int = 32
    learning_rate: float = 0.01
    gamma: float = 0.95

    limits = {"num_envs": "at least 1", "num_steps": "at least 1", "gamma": "in [0, 1]"}

    @property
    def steps_per_iteration(self):
        return self.num_envs * self.num_steps

    @property
    def updates_per_step(self):
        return 1 / self.steps_per_iteration

    def optimizer_settings(self, task_steps=TASK_STEPS):
        return OptimizerSettings(
            self.learning_rate, 1e-5, updates_per_step=self.updates_per_step, task_steps=task_steps
        )


class Reinforce(Agent):
    """The policy gradient of Williams (1992), with discounted rewards to go."""

    name = "reinforce"
    config_class = ReinforceConfig

    def __init__(self, stream, config, spec, interventions, seeds, task_steps, **_):
        self.config, self.device, self.members = config, stream.device, len(seeds)
        self.policy = action_distribution(stream.single_action_space, 0.0, stream.device)
        shape = stream.single_observation_space.shape
        heads = {"policy": HeadSpec(self.policy.size, gain=0.01, distribution=self.policy)}
        self.learner = Learner(
            lambda spec, generators: Network(spec, shape, heads, generators),
            spec, interventions, config.optimizer_settings(task_steps), seeds, device=stream.device,
        )
        self.network = self.learner.network
        self.keys = rng.lane_keys(seeds, config.num_envs, "policy", stream.device)
        self.step, self.obs = 0, None

    def iterate(self, stream):
        if self.obs is None:
            self.obs = stream.reset()[0]
        seen, actions, rewards, ends = [], [], [], []
        for _ in range(self.config.num_steps):
            seen.append(self.obs.view(self.members, -1, *self.obs.shape[1:]).float())
            with torch.no_grad():
                actions.append(self.play(seen[-1], self.keys, self.step))
            self.obs, reward, terminated, truncated, _ = stream.step(actions[-1])
            rewards.append(reward.clone())
            ends.append(terminated | truncated)
            self.step += 1
        to_go = [torch.zeros_like(rewards[0])]
        for reward, end in zip(reversed(rewards), reversed(ends)):
            to_go.append(reward + self.config.gamma * to_go[-1] * ~end)
        gain = self.by_member(to_go[:0:-1])
        self.seen = torch.cat(seen, 1)
        outputs = self.network(self.seen)["policy"]
        log_prob = self.policy.log_prob(outputs, self.by_member(actions))[0]
        loss = -(log_prob * (gain - gain.mean(1, keepdim=True))).mean(1)
        self.learner.update(loss, self.seen)
        return {"losses/policy_loss": loss.detach()}

    def by_member(self, steps):
        return torch.cat([step.view(self.members, -1) for step in steps], 1)

    def play(self, obs, keys, step):
        uniform = self.policy.draw(keys, step, self.members)
        action = self.policy.sample(self.network(obs)["policy"], uniform)[0]
        return self.policy.to_env(action)

    def recent(self, count):
        return self.seen[:, :count]

    def state_dict(self):
        return {"learner": self.learner.state_dict(), "step": self.step, "obs": self.obs}

    def load_state_dict(self, state):
        self.learner.load_state_dict(state["learner"])
        self.step, self.obs = state["step"], state["obs"]
'''

FAST = "--env CartPole-v1 --num-envs 4 --num-steps 16 --hidden 8 --threads 1 --steps 128"
PPO = f"{FAST} --num-epochs 1 --num-minibatches 2 --diagnose-every 1"


def test_a_class_without_a_name_is_told_to_have_one(tmp_path, own_names):
    path = tmp_path / "nameless.py"
    path.write_text(
        "from neoteny.plasticity.interventions import Intervention\n"
        "class Nameless(Intervention):\n"
        "    pass\n"
    )
    run_file(path)
    with pytest.raises(
        InputError, match="'Nameless': intervention classes are those with a `name`"
    ):
        canonical(f"{path}:Nameless")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {"intervention": INTERVENTION, "change": CHANGE}
    for name, text in (files | {"diagnostic": DIAGNOSTIC, "agent": AGENT}).items():
        Path(f"my_{name}.py").write_text(text.lstrip())
    return tmp_path


def run(words, folder="run"):
    assert main(["run", *words.split(), "--out", folder]) == 0
    return pd.read_csv(f"{folder}/seed_0/metrics.csv")


def stored(folder="run"):
    return json.loads(Path(folder, "seed_0", "config.json").read_text())


def test_an_intervention_is_named_by_its_file_and_class_or_by_its_name():
    plain = run(f"{PPO} --intervention none", "plain")
    short = run(f"{PPO} --plugin my_intervention.py --intervention shrink:factor=0.5", "short")
    table = run(f"{PPO} --intervention my_intervention.py:Shrink:factor=0.5")
    norms = [frame["plasticity/policy/head/weight_norm"].iloc[-1] for frame in (plain, table)]
    assert norms[1] < norms[0] / 10  # after four updates
    assert table["interventions/shrink/activity"].tolist() == [2, 4]
    pd.testing.assert_frame_equal(*(f.drop(columns=[*COSTS]) for f in (short, table)))
    kept = stored()
    assert kept["plugin"] == [str(Path("my_intervention.py").absolute())]
    assert kept["intervention"] == ["shrink:factor=0.5"]
    assert kept["arm"] == "ppo-shrink-factor=0.5"
    assert kept["intervention_settings"] == {"shrink": {"factor": 0.5}}
    arms = ("none", "my_intervention.py:Shrink")  # the file is named, so it may be run
    compared = configure(CompareConfig, {"config": "run/seed_0/config.json", "interventions": arms})
    assert [arm.intervention for arm in compared.arms()] == [("none",), ("shrink",)]


def test_no_file_runs_that_the_command_does_not_name(capsys):
    Path("own.py").write_text(INTERVENTION + "\nopen('ran', 'w').close()\n")
    run(f"{PPO} --intervention own.py:Shrink")
    os.remove("ran")
    from neoteny.plasticity.interventions import INTERVENTIONS

    INTERVENTIONS.discard("shrink")  # as in a process of its own
    capsys.readouterr()
    for asked in ("shrink", "own.py:Shrink"):  # whatever a stranger has written there
        path = Path("run/seed_0/config.json")
        path.write_text(json.dumps(stored() | {"intervention": [asked], "plugin": []}))
        assert main(["run", "--resume", "run"]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert not Path("ran").exists()
    path.write_text(json.dumps(stored() | {"intervention": ["shrink"], "plugin": ["own.py"]}))
    assert main(["run", "--resume", "run"]) == 2
    assert "the run needs the code of own.py: allow it with --plugin own.py" in (
        capsys.readouterr().err
    )
    assert not Path("ran").exists()
    Path("moved").mkdir()
    Path("own.py").rename("moved/own.py")
    for arguments in (["run", "--resume"], ["watch"]):
        for trust in ([], ["--trust"]):
            assert main([*arguments, "run", *trust]) == 2
            assert capsys.readouterr().err == (
                "error: run/seed_0/config.json: the run needs the code of own.py, which is not "
                "there: say where it is now, with --plugin FOLDER/own.py\n"
            )
    assert main(["run", "--resume", "run", "--plugin", "moved/own.py"]) == 0
    assert Path("ran").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--intervention my_intervention.py:Shrimp", "no intervention 'Shrimp': did you mean 'Sh"),
        ("--intervention none.py:Shrink", "cannot read none.py"),
        ("--plugin my_agent.py --agent reinforced", "did you mean 'reinforce'"),
        ("--plugin my_agent.py --agent reinforce --clip-range 1", "option --clip-range is unkno"),
        ("--plugin my_agent.py --agent reinforce --gamma 2", "gamma is 2: it must be in [0, 1]"),
    ],
)
def test_mistakes_are_one_line(words, message, capsys):
    assert main(["run", *words.split(), "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not Path("run").exists()


def test_a_change_is_used_in_a_stream_of_ones_own():
    Path("mine.yaml").write_text(
        "environments: CartPole-v1\nschedule: {kind: Cyclic, tasks: 2}\n"
        "changes: [{kind: RewardOffset, offset: 9}]\n"
    )
    words = PPO.replace("--env CartPole-v1", "--stream mine.yaml").replace("128", "512")
    table = run(f"{words} --plugin my_change.py --task-steps 256 --num-steps 64")
    a_step = table["charts/episodic_return"] / table["charts/episodic_length"]
    np.testing.assert_allclose(a_step, [1, 10], rtol=1e-6)  # CartPole pays 1 a step
    assert stored()["stream_definition"]["changes"] == [{"kind": "RewardOffset", "offset": 9}]


def test_a_diagnostic_is_measured_in_every_layer():
    table = run(f"{PPO} --plugin my_diagnostic.py")
    for layer, weights in (("layer0", 4 * 8), ("head", 8 * 2)):
        found = table[f"plasticity/policy/{layer}/mean_square"] * weights
        norm = table[f"plasticity/policy/{layer}/weight_norm"]
        np.testing.assert_allclose(found, norm**2, rtol=1e-5)


def test_an_agent_brings_its_options_learns_and_goes_on():
    words = f"{FAST} --plugin my_agent.py --agent reinforce --seeds 2 --learning-rate 0.03"
    words += " --num-steps 32 --eval-episodes 1 --task-steps 2048 --diagnose-every 8"
    table = run(f"{words} --steps 3072")
    returns = table["charts/episodic_return"]
    assert returns.iloc[-1] > 1.2 * returns.iloc[0]
    assert stored()["reinforce"]["num_steps"] == 32
    assert stored()["arm"] == "reinforce-none"
    assert table["plasticity/policy/layer0/weight_norm"].notna().any()
    part = run(f"{words} --steps 512", "part")
    assert main(["run", "--resume", "part", "--plugin", "my_agent.py", "--steps", "1024"]) == 0
    longer = pd.read_csv("part/seed_0/metrics.csv")["losses/policy_loss"]
    assert len(part) < len(longer) < len(table)
    pd.testing.assert_series_equal(longer, table["losses/policy_loss"].iloc[: len(longer)])


def test_the_lines_that_it_takes_are_those_that_the_page_says():
    page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    for name, text in {
        "intervention": INTERVENTION,
        "change": CHANGE,
        "diagnostic": DIAGNOSTIC,
        "agent": AGENT,
    }.items():
        lines = sum(bool(line.strip()) for line in text.splitlines())
        assert re.search(rf"^\| {name} \| .* \| 1 \| {lines} \|$", page, re.MULTILINE), lines


def test_a_module_beside_the_command_serves_as_well(here):
    shutil.copy("my_diagnostic.py", "diagnostic_of_ones_own.py")
    table = run(f"{PPO} --plugin diagnostic_of_ones_own")
    assert "plasticity/policy/layer0/mean_square" in table
