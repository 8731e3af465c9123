"""Comparisons of any size, made up in a moment: what reports of many runs are timed on."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

TASKS = ("MinAtar-Breakout", "MinAtar-Asterix", "MinAtar-SpaceInvaders", "MinAtar-Freeway")
DIAGNOSTICS = (
    *("gram_deviation", "sigma_max", "sigma_min", "condition", "weight_norm"),
    *("feature_effective_rank", "dormant_fraction", "dead_fraction"),
)


def write_runs(
    out: Path, arms: int = 10, seeds: int = 20, visits: int = 40, rows: int = 15, layers: int = 4
) -> Path:
    """Write a comparison of finished runs: plain agents, fresh networks and others between.

    Args:
        out: Folder to write to.
        arms: Arms, at least two.
        seeds: Runs an arm.
        visits: Visits a run, in cycles through four games.
        rows: Rows a visit; diagnostics are in every fifth.
        layers: Hidden layers of two networks.

    Returns:
        The folder.
    """
    names = ["none", *(f"l2_init:strength=0.{arm}" for arm in range(1, arms - 1)), "fresh"]
    columns = [
        f"plasticity/{network}/layer{layer}/{name}"
        for network in ("policy", "value")
        for layer in range(layers)
        for name in DIAGNOSTICS
    ]
    step = 1000 * np.arange(1, visits * rows + 1)
    visit = np.arange(visits * rows) // rows
    part = np.arange(visits * rows) % rows / rows
    for at, name in enumerate(names):
        kept = 1 if name == "fresh" else (at + 1) / arms
        level = 2 + 10 * part * (1 - (1 - kept) * visit / visits)
        for seed in range(seeds):
            rng = np.random.default_rng([at, seed])
            table = pd.DataFrame(
                {
                    "step": step,
                    "iteration": step // 1000,
                    "task": visit % 4,
                    "visit": visit,
                    "charts/SPS": rng.uniform(900, 1100, len(step)),
                    "charts/peak_memory": 400 + 10 * kept,
                    "charts/alive": 1.0,
                    "charts/episodic_return": level + rng.normal(0, 0.5, len(step)),
                }
            )
            drift = rng.uniform(0.5, 1, (len(step), len(columns))) * (1 + visit[:, None] / visits)
            drift[np.arange(len(step)) % 5 != 0] = np.nan
            table = table.join(pd.DataFrame(drift, columns=columns)).round(6)
            folder = out / f"ppo-{name.replace(':', '-')}" / f"seed_{seed}"
            folder.mkdir(parents=True)
            table.to_csv(folder / "metrics.csv", index=False)
            config = {
                "arm": f"ppo-{name.replace(':', '-')}",
                "agent": "ppo",
                "env": "minatar-continual",
                "intervention": [name],
                "steps": int(step[-1]),
                "task_steps": 1000 * rows,
                "seeds": seeds,
                "seed": seed,
                "task_names": list(TASKS),
                "boundaries": (1000 * rows * np.arange(1, visits)).tolist(),
                "device": "cpu",
                "command": f"neoteny run --intervention {name}",
                "versions": {"python": "3.11", "neoteny": "0.1.0"},
                "hardware": {"cpu": "a CPU", "cores": 2, "threads": 1, "gpu": None},
            }
            (folder / "config.json").write_text(json.dumps(config))
    return out
