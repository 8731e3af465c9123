"""Units of a plan under an engine: who is sent, what is said, and what is left when it stops."""

import pytest

from neoteny.core.console import PlainConsole
from neoteny.core.errors import InputError
from neoteny.experiments.cli import train_arms
from neoteny.experiments.engines import grid
from neoteny.experiments.engines.engine import LOG, Order, Outcome, order_of
from neoteny.experiments.engines.grid import train_units
from neoteny.experiments.engines.worker import train
from neoteny.experiments.options.config import CompareConfig
from neoteny.experiments.options_by_name import configure
from neoteny.experiments.run.interrupt import Stopped
from neoteny.experiments.run.lock import FolderLock
from neoteny.experiments.run.plan import plan_units

SMALL = {
    "env": "CartPole-v1",
    "num_envs": 8,
    "num_steps": 8,
    "num_epochs": 1,
    "num_minibatches": 2,
    "hidden": (8,),
    "steps": 128,
    "task_steps": 64,
}


class Scripted:
    """An engine that ends units with codes that were chosen; 0 trains the unit in this process."""

    def __init__(self, codes):
        self.codes = codes
        self.orders = None
        self.calls = []

    def submit(self, orders):
        self.orders = [Order.from_json(order.to_json()) for order in orders]
        self.left = list(enumerate(self.orders))

    def ended(self):
        if not self.left:
            raise KeyboardInterrupt
        index, order = self.left.pop(0)
        code = self.codes[index]
        if code == 0:
            train(order)
        else:
            (log := grid.Path(order.folder) / LOG).parent.mkdir(parents=True, exist_ok=True)
            log.write_text("".join(f"line {n}\n" for n in range(20)))
        return [Outcome(index, code)]

    def stop(self):
        self.calls.append("stop")

    def kill(self):
        self.calls.append("kill")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(grid, "TICK", 0.0)
    monkeypatch.setattr(grid, "BETWEEN_LINES", 0.0)


def comparison(out, **options):
    return configure(CompareConfig, {**SMALL, "out": out, **options})


def test_failures_are_reported_with_their_last_lines_and_stop_no_other(tmp_path, capsys):
    config = comparison(tmp_path, interventions=("none", "adamo", "l2_init", "fresh", "redo"))
    units = plan_units(config)
    engine = Scripted([0, 1, -9, 3, 0])
    failed = train_units(units, engine, 1, PlainConsole())
    assert failed == {
        "ppo-adamo, seed 0": "failed",
        "ppo-l2_init, seed 0": "killed by SIGKILL",
        "ppo-fresh, seed 0": "stopped with non-finite gradients in all members",
    }
    assert [unit.done for unit in units] == [True, False, False, False, True]
    said = capsys.readouterr().out.splitlines()
    log = tmp_path / "ppo-adamo" / LOG
    at = said.index(f"warning: ppo-adamo, seed 0: failed; its last lines ({log}):")
    assert said[at + 1 : at + 9] == [f"    line {n}" for n in range(12, 20)]
    assert "2 of 5 units done, 0 running, 3 failed, about 0 min left" in said
    assert engine.calls == ["kill"]
    again = Scripted([0, 0, 0])
    assert train_units(units, again, 1, PlainConsole()) == {}
    assert [order.folder for order in again.orders] == [str(unit.run.folder) for unit in units[1:4]]
    assert "2 of 5 units are done already" in capsys.readouterr().out


def test_a_signal_lets_all_units_save(tmp_path):
    config = comparison(tmp_path, interventions=("none", "adamo"))
    engine = Scripted([0, 0])
    take = engine.submit
    engine.submit = lambda orders: (take(orders), engine.left.pop())
    message = "stopped with 1 of 2 units done: give the same command again"
    with pytest.raises(Stopped, match=message):
        train_units(plan_units(config), engine, 1, PlainConsole())
    assert engine.calls == ["stop", "kill"]


def test_what_is_overwritten_is_removed_once(tmp_path):
    config = comparison(tmp_path, interventions=("none",))
    engine = Scripted([0])
    train_units(plan_units(config), engine, 1, PlainConsole())
    units = plan_units(comparison(tmp_path, interventions=("none",), overwrite=True))
    engine = Scripted([1])
    assert train_units(units, engine, 1, PlainConsole()) == {"ppo-none, seed 0": "failed"}
    assert not (tmp_path / "ppo-none" / "checkpoint.pt").exists()


def test_an_order_is_the_whole_configuration(tmp_path):
    vary = ("learning-rate=0.001,0.003",)
    config = comparison(tmp_path, interventions=("adamo:isometry=0.25",), vary=vary, seeds=3)
    from neoteny.experiments.run.stored import Allowed, from_dict

    for unit in plan_units(config):
        order = Order.from_json(order_of(unit.run, 1).to_json())
        found = from_dict(order.values, Allowed(everything=True))
        assert found.to_dict() == unit.run.to_dict()
        assert found.arm == unit.run.arm


def test_two_drivers_do_not_share_a_folder(tmp_path):
    config = comparison(tmp_path, interventions=("none",), jobs=2)
    with (
        FolderLock(tmp_path),
        pytest.raises(InputError, match=f"{tmp_path} is in use by process"),
        train_arms(config, PlainConsole()),
    ):
        pass


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"address": "auto"}, "address is auto, which engine local does not take: leave it"),
        ({"gpus": 1.0, "jobs": 2}, "gpus is 1.0, .*, or give --engine ray or slurm"),
        ({"partition": "long", "engine": "ray"}, "partition is long, .*, or give --engine slurm"),
    ],
)
def test_options_of_another_engine_are_refused(option, message):
    with pytest.raises(InputError, match=message):
        configure(CompareConfig, {**SMALL, **option})
