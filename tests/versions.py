"""Run the fast tests on the lowest and the newest versions of the dependencies.

python tests/versions.py python3.11 python3.12 python3.13 --bounds lowest newest
"""

from __future__ import annotations

import argparse
import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "versions"
SHOWN = ("torch", "gymnasium", "minigrid", "stable-baselines3", "numpy", "scipy", "pandas", "tyro")


def lower_bounds(setup: Path) -> list[str]:
    """The lowest version of every dependency that setup.cfg allows, as pip's constraints."""
    config = configparser.ConfigParser()
    config.read(setup)
    extras = config["options.extras_require"]
    lines = [config["options"]["install_requires"], extras["video"], extras["supervised"]]
    return re.findall(r"^([\w-]+>=[^,\n]+)", "\n".join(lines), re.MULTILINE)


def install(python: str, bounds: str) -> Path:
    """Make an environment and return its interpreter; a finished one is used again."""
    version = run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()
    folder = FOLDER / f"{bounds}-{version}"
    interpreter, constraints = folder / "bin" / "python", folder / "constraints.txt"
    if (folder / "installed").exists():
        run([str(interpreter), "-m", "pip", "install", "-q", "--no-deps", "-e", "."])
        return interpreter
    shutil.rmtree(folder, ignore_errors=True)
    run([python, "-m", "venv", str(folder)])
    lowest = [line.replace(">=", "==") for line in lower_bounds(ROOT / "setup.cfg")]
    constraints.write_text("\n".join(lowest if bounds == "lowest" else []) + "\n")
    run([str(interpreter), "-m", "pip", "install", "-q", "-c", str(constraints), "-e", ".[test]"])
    (folder / "installed").touch()
    return interpreter


def versions(interpreter: Path) -> dict[str, str]:
    """Version of every distribution that the environment holds."""
    listed = json.loads(run([str(interpreter), "-m", "pip", "list", "--format", "json"]))
    return {entry["name"].lower().replace("_", "-"): entry["version"] for entry in listed}


def test(interpreter: Path, arguments: list[str]) -> str:
    """Run pytest and return its own summary; the output is kept beside the environment."""
    command = [str(interpreter), "-m", "pytest", "-m", "not slow and not gpu", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    (interpreter.parents[1] / "pytest.txt").write_text(done.stdout + done.stderr)
    return (done.stdout.strip().splitlines() or [f"exit code {done.returncode}"])[-1].strip("= ")


def run(command: list[str]) -> str:
    """Standard output of a command that has to succeed."""
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> int:
    """Print a row of a Markdown table for each environment; 1 where a test failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pythons", nargs="+", help="interpreters, by name or path")
    parser.add_argument(
        "--bounds", nargs="+", default=["lowest", "newest"], choices=["lowest", "newest"]
    )
    parser.add_argument("--pytest", default="-n 2 --dist worksteal", help="arguments for pytest")
    options = parser.parse_args()
    print(f"| Python | bounds | {' | '.join(SHOWN)} | tests |\n|{'---|' * (len(SHOWN) + 3)}")
    failed = False
    for python in options.pythons:
        for bounds in options.bounds:
            interpreter = install(python, bounds)
            has = versions(interpreter)
            result = test(interpreter, options.pytest.split())
            failed |= "passed" not in result or "failed" in result or "error" in result
            python_version = run(
                [str(interpreter), "-c", "import platform as p; print(p.python_version())"]
            )
            cells = [python_version.strip(), bounds, *(has[name] for name in SHOWN), result]
            print(f"| {' | '.join(cells)} |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
