"""A wheel, without its checkout: it holds one package and trains from any folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy
import pytest

import neoteny.envs

ROOT = Path(neoteny.envs.__file__).parents[1]
TINY = "--num-envs 4 --num-steps 8 --num-epochs 1 --num-minibatches 2 --hidden 8 --steps 128"


def run(*command, cwd):
    """Run a program that has to succeed, without what points at the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # From a copy, since setuptools would ship whatever lies in a build/lib of the checkout.
    folder = tmp_path_factory.mktemp("wheel")
    for name in run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines():
        if (ROOT / name).is_file() and not name.startswith("results/"):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder]
    run(*pip, folder / "source", cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_a_wheel_installs_one_name_and_every_source_file(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    packages = {name.split("/")[0] for name in names}
    assert packages == {"neoteny", wheel.name.split("-py3")[0] + ".dist-info"}
    shipped = {name.removeprefix("neoteny/") for name in names if name.endswith(".py")}
    root = {"__init__.py", "__main__.py", "train.py"}
    folders = {name.split("/")[0] for name in shipped} - root
    assert not folders & {"tests", "benchmarks", "docs", "examples", "results"}
    sources = {
        str(path.relative_to(ROOT)) for name in folders for path in (ROOT / name).rglob("*.py")
    }
    assert shipped == sources | root
    assert {"neoteny/py.typed", "neoteny/experiments/exchange/schema.json"} <= set(names)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of an environment that has the wheel and its dependencies, and no checkout."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", wheel, cwd=folder)
    # The dependencies of this environment, without what its .pth files add: the checkout.
    paths = run(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=folder)
    Path(paths.strip(), "dependencies.pth").write_text(str(Path(numpy.__file__).parents[1]))
    where = run(python, "-c", "import neoteny.agents as a; print(a.__file__)", cwd=folder)
    assert where.startswith(str(folder))
    return folder / "venv" / "bin"


@pytest.mark.slow
def test_a_wheel_trains_from_another_folder(installed, tmp_path):
    run(installed / "neoteny", "run", *TINY.split(), "--out", "here", cwd=tmp_path)
    assert "return" in (tmp_path / "here/seed_0/metrics.csv").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.slow
def test_the_second_day_needs_the_wheel_alone(installed, tmp_path):
    shutil.copy(ROOT / "examples/second_day.py", tmp_path)
    command = [installed / "python", "second_day.py", "--steps", "1536", "--seeds", "2"]
    said = run(*command, cwd=tmp_path)
    assert "ppo-shrink" in said
    assert (tmp_path / "second_day/second_day.png").stat().st_size > 10_000
    metrics = (tmp_path / "second_day/ppo-shrink/seed_1/metrics.csv").read_text()
    assert "plasticity/policy/layer0/weight_kurtosis" in metrics
    small = TINY.replace("128", "2048").split()
    listed = run(
        installed / "neoteny", "list", "streams", "--plugin", "second_day.py", cwd=tmp_path
    )
    assert "chase" in listed
    plugin = ["--plugin", "second_day.py", "--env", "chase", "--intervention", "shrink"]
    run(installed / "neoteny", "run", *plugin, *small, "--out", "by_command", cwd=tmp_path)
    assert "chase" in (tmp_path / "by_command/seed_0/config.json").read_text()
