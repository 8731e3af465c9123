"""Serves timed windows of peers to a benchmark that runs in another interpreter.

python benchmarks/peers/worker.py --threads 2

Every line of standard input is a request, `{"work": "rejax_ppo", "options": {...}, "seconds": 0}`;
the answer is a line of JSON. The first request of a kind builds and compiles; the same line again
runs what is there, once or as often as fits into the seconds, so that a benchmark can ask for a
window whenever it is this peer's turn. An empty request forgets everything that was built.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import TextIO

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "rejax",
    "gymnax",
    "navix",
    "xminigrid",
    "pgx",
    "pgx-minatar",
    "envpool",
    "gymnasium",
    "minigrid",
    "minatar",
)


def versions() -> dict[str, str]:
    """Versions of the installed ones of `PACKAGES`."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def serve(answers: TextIO) -> None:
    """Answer requests until the input ends."""
    works: dict[str, Callable[[], int]] = {}
    for line in sys.stdin:
        started = time.perf_counter()
        request = json.loads(line)
        answer = {}
        if not request:
            works.clear()
        else:
            if line not in works:
                module = importlib.import_module(request["work"])
                works[line] = module.prepare(**request["options"])
            answer["amount"] = works[line]()
            while time.perf_counter() - started < request["seconds"]:
                answer["amount"] += works[line]()
            answer["seconds"] = time.perf_counter() - started
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    """Keep to the given number of cores, say which versions these are, and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int)
    threads = parser.parse_args().threads
    if threads and hasattr(os, "sched_setaffinity"):
        # XLA takes one thread a core that it may use.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come between the answers
    print(json.dumps(versions()), file=answers, flush=True)
    serve(answers)


if __name__ == "__main__":
    main()
