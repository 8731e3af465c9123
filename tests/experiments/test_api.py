"""The Python API: what `import neoteny` gives, by the rules of the command line."""

import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy

import neoteny
from neoteny.core.errors import InputError
from neoteny.experiments.options.config import CompareConfig, RunConfig
from neoteny.experiments.options_by_name import configure
from neoteny.experiments.run.run_streams import make_run_stream
from neoteny.experiments.statistics.runs import read_runs
from neoteny.experiments.statistics.summary import summary

TINY = {
    "steps": 512,
    "task_steps": 256,
    "num_envs": 8,
    "num_steps": 16,
    "num_minibatches": 2,
    "hidden": (8, 8),
    "diagnose_every": 2,
}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("comparison") / "c")
    arms = ["none", "adamo:half_life=400"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("neoteny.experiments.report.report.illustrate", lambda *_: [])  # as `undrawn`
        table = neoteny.compare("cartpole-permute", interventions=arms, seeds=2, out=folder, **TINY)
    return folder, table


@pytest.fixture(scope="module")
def run(comparison):
    return neoteny.load(f"{comparison[0]}/ppo-none")


def test_importing_the_package_imports_neither_torch_nor_anything_of_ours():
    code = (
        "import sys, neoteny; print(neoteny.__version__, 'torch' in sys.modules, "
        "[name for name in sys.modules if name.startswith('neoteny.')], 'train' in dir(neoteny))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0.1.0 False [] True\n"


def test_a_run_needs_neither_tables_nor_statistics():
    """Which take a second and a half to import."""
    code = (
        "import sys, neoteny.experiments.run.runner, neoteny.experiments.cli; "
        "print([name for name in ('pandas', 'scipy.stats', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_unknown_name_of_the_package_is_no_attribute():
    with pytest.raises(AttributeError, match="'neoteny' has no attribute 'tarin'"):
        _ = neoteny.tarin


def test_a_run_has_the_options_it_was_given_and_the_presets_defaults(tmp_path):
    found = neoteny.train(
        "CartPole-v1",
        intervention=["layer_norm", "adamo"],
        out=str(tmp_path / "run"),
        env_option={"max_steps": 50},
        learning_rate=3e-3,
        **TINY,
    )
    config = found.config
    assert (config.env, config.intervention) == ("CartPole-v1", ("layer_norm", "adamo"))
    assert config.preset == "cpu"
    assert (config.hyper.num_envs, config.hyper.learning_rate) == (8, 3e-3)
    assert config.network.hidden == (8, 8)
    assert config.hyper.gamma == neoteny.experiments.options.presets.PRESETS["cpu"]["ppo"].gamma
    lengths = found.metrics.query("name == 'charts/episodic_length'").value
    assert lengths.max() <= 50
    assert (tmp_path / "run/seed_0/metrics.csv").is_file()


def test_metrics_are_a_row_for_each_value_that_was_recorded(comparison):
    folder, _ = comparison
    tidy, wide = neoteny.results(folder), read_runs(folder)
    assert list(tidy.columns) == ["arm", "seed", "step", "task", "visit", "name", "value"]
    names = [name for name in wide.columns if "/" in name]
    assert len(tidy) == wide[names].notna().sum().sum()
    keys = ["arm", "seed", "step"]
    back = tidy.pivot(index=keys, columns="name", values="value")["charts/episodic_length"]
    pd.testing.assert_series_equal(
        back, wide.set_index(keys)["charts/episodic_length"].sort_index()
    )
    assert not tidy.duplicated([*keys, "name"]).any()
    assert len(tidy.query("name == 'plasticity/update_norm'")) == 2 * 2 * 4


@pytest.mark.slow
def test_a_comparison_gives_its_summary_and_trains_nothing_twice(comparison, caplog):
    folder, table = comparison
    pd.testing.assert_frame_equal(table, summary(read_runs(folder)))
    before = neoteny.results(folder)
    neoteny.compare(
        "cartpole-permute",
        interventions=["none", "adamo:half_life=400"],
        seeds=2,
        out=folder,
        **TINY,
    )
    pd.testing.assert_frame_equal(before, neoteny.results(folder))


def test_scores_are_seeds_by_tasks(comparison):
    folder, _ = comparison
    found = neoteny.scores(folder)
    assert {arm: array.shape for arm, array in found.items()} == {
        "ppo-none": (2, 2),
        "ppo-adamo-half_life=400": (2, 2),
    }
    frame = read_runs(folder)
    own = frame[(frame.arm == "ppo-none") & (frame.seed == 1) & (frame.visit == 0)]
    weights = own["width"] / own["width"].sum()
    assert found["ppo-none"][1].min() == pytest.approx((own["online_return"] * weights).sum()) or (
        found["ppo-none"][1].max() == pytest.approx((own["online_return"] * weights).sum())
    )


def test_predictions_are_the_networks_own(run):
    obs = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    logits = run.agent.network(torch.as_tensor(obs).expand(2, 5, 4))["policy"]
    for member, seed in enumerate(run.seeds):
        actions, state = run.predict(obs, seed=seed)
        assert state is None
        np.testing.assert_array_equal(actions, logits[member].argmax(-1).numpy())
    first, _ = run.predict(obs[0])
    assert first.shape == ()
    assert first == run.predict(obs)[0][0]
    torch.manual_seed(0)
    draws = [run.predict(obs[:1], deterministic=False)[0][0] for _ in range(300)]
    share = logits[0, 0].softmax(-1)[1].item()
    assert np.mean(draws) == pytest.approx(share, abs=4 * (share * (1 - share) / 300) ** 0.5)


def test_stable_baselines3_evaluates_a_run_as_a_model_of_its_own(run):
    returns, lengths = evaluate_policy(
        run, gymnasium.make("CartPole-v1"), 3, return_episode_rewards=True, warn=False
    )
    assert returns == [float(length) for length in lengths]


def test_evaluations_are_those_of_training(tmp_path):
    found = neoteny.train(
        "cartpole-permute", seeds=2, eval_episodes=3, out=tmp_path / "run", **TINY
    )
    recorded = found.metrics.query("name == 'eval/episodic_return' and step == 512")
    np.testing.assert_allclose(found.evaluate(3).mean(1), recorded.value)


@pytest.mark.parametrize(
    ("agent", "env"), [("dqn", "CartPole-v1"), ("ppo", "Pendulum-v1")], ids=["dqn", "continuous"]
)
def test_agents_of_every_kind_predict(agent, env, tmp_path):
    options = {"steps": 256, "hidden": (8,), "num_envs": 8, "task_steps": 256}
    found = neoteny.train(env, agent=agent, out=tmp_path / "run", **options)
    obs = np.zeros((3, 4 if agent == "dqn" else 3), np.float32)
    actions, _ = found.predict(obs)
    lanes = torch.as_tensor(obs).unsqueeze(0)
    if agent == "dqn":
        np.testing.assert_array_equal(actions, found.agent.network(lanes)["q"][0].argmax(-1))
    else:
        mean = found.agent.network(lanes)["policy"][0].chunk(2, -1)[0].detach().numpy()
        np.testing.assert_allclose(actions, mean.clip(-2, 2))
    assert found.predict(obs[0])[0].shape == actions.shape[1:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rat": 1}, "option 'learning_rat' is unknown: did you mean 'learning_rate'?"),
        ({"env": "CartPole-v9"}, "CartPole-v9"),
        ({"intervention": "adamo:isometri=1"}, "isometri"),
        ({"seeds": 0}, "seeds is 0"),
        ({"lr": 1}, "option 'lr' is unknown: did you mean 'learning_rate'?"),
        ({"preset": "cpus"}, "preset 'cpus' is unknown: did you mean 'cpu'?"),
        ({"plugin": "absent.py"}, "absent.py"),
        ({"plugin": Path("absent.py")}, "absent.py"),
        ({"intervention": object}, "intervention is <class 'object'>: give a text or several"),
        ({"intervention": [3]}, r"intervention is \(3,\): it must be a text"),
        ({"resume": "absent"}, "absent"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(options, message, tmp_path):
    with pytest.raises(InputError, match=message) as raised:
        neoteny.train(**{"out": tmp_path / "run", **TINY, **options})
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_options_of_the_environment_are_values_of_python():
    options = {"games": ["Asterix", "Breakout"], "max_steps": None}
    found = configure(RunConfig, {"env": "minatar-continual", "env_option": options})
    stream = make_run_stream(found)
    assert sorted(set(stream.task_names)) == ["Asterix", "Breakout"]
    options = {"parameters": {"gravity": 3.0}}
    found = configure(RunConfig, {"env": "CartPole-v1", "env_option": options})
    assert (make_run_stream(found).unwrapped.parameters["gravity"] == 3.0).all()


def test_a_file_named_by_an_intervention_is_run(tmp_path, own_names):
    path = tmp_path / "own_method.py"
    path.write_text(
        "from dataclasses import dataclass\n"
        "from neoteny.plasticity.interventions import Intervention\n"
        "@dataclass\n"
        "class Own(Intervention):\n"
        "    name = 'own_method'\n"
        "    factor: float = 0.5\n"
        "    def after_step(self, learner, obs):\n"
        "        self.state['activity'] += 1\n"
    )
    text = f"layer_norm+{path}:Own:factor=0.25"
    found = configure(CompareConfig, {"env": "CartPole-v1", "interventions": text}).arms()[0]
    assert found.intervention == ("layer_norm", "own_method:factor=0.25")
    assert found.plugin == (str(path),)


def test_a_run_goes_on_as_it_was_trained_as_on_the_command_line(tmp_path):
    options = {"intervention": "adamo", "seeds": 2, "learning_rate": 3e-3, **TINY}
    whole = neoteny.train("CartPole-v1", out=tmp_path / "whole", **(options | {"steps": 1024}))
    neoteny.train("CartPole-v1", out=tmp_path / "parts", **options)
    parts = neoteny.train(resume=tmp_path / "parts", steps=1024)
    assert (parts.folder, parts.config.arm) == (tmp_path / "parts", whole.config.arm)
    for ours, theirs in zip(
        parts.agent.network.parameters(), whole.agent.network.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    with pytest.raises(InputError, match=r"steps is 512, but the run in .* has 1,024 already"):
        neoteny.train(resume=tmp_path / "parts", steps=512)


def test_what_a_run_cannot_give_is_refused_in_one_line(run, tmp_path):
    with pytest.raises(InputError, match=r"shape \(3,\): the agent takes \(4,\)"):
        run.predict(np.zeros(3))
    with pytest.raises(InputError, match=r"seed is 7: the run has the seeds \[0, 1\]"):
        run.predict(np.zeros(4), seed=7)
    with pytest.raises(InputError, match="observations are no array"):
        run.predict([[1, 2], [3]])
    with pytest.raises(InputError, match="observations are of the type <U1: give numbers"):
        run.predict(["a", "b", "c", "d"])
    for episodes in (0, 2.5, "3"):
        with pytest.raises(InputError, match="episodes is"):
            run.evaluate(episodes)
    with pytest.raises(InputError, match=r"holds no checkpoint\.pt"):
        neoteny.load(tmp_path)
    options = {"agent": "classifier", "steps": 2048, "task_steps": 1024}
    classifier = neoteny.train(out=tmp_path / "run", **options)
    with pytest.raises(InputError, match="agent classifier, which cannot be loaded to play"):
        classifier.predict(np.zeros(64))


def test_a_quiet_run_prints_nothing_and_logs_its_warnings(tmp_path, capsys, caplog):
    neoteny.train("CartPole-v1", intervention="adamo:half_life=1e6", out=tmp_path / "a", **TINY)
    assert capsys.readouterr() == ("", "")
    assert "adamo takes more than" in caplog.text
    neoteny.train("CartPole-v1", out=tmp_path / "b", progress=True, **TINY)
    assert "written to" in capsys.readouterr().out
