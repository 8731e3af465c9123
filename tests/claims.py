"""Rows of made-up runs with gains that a test sets, for the tests of reproductions."""

import numpy as np
import pandas as pd

AGENTS = ("ppo-", "classifier-")


def frame_of_gains(gains, fresh=4.0, env="stream", more=None):
    """Rows as `read_runs` gives them: arms with gains (seeds, visits) over an untrained 0.

    An arm of fresh networks gains `fresh` in every visit; None leaves it to `gains`. A name may say
    what the arm's network is, as in ``none-groupsort``; NaN leaves a visit out. `more` adds columns
    to both rows of a visit: (arm, seed, visit, row) -> values.
    """
    seeds, visits = next(iter(gains.values())).shape
    rows = []
    if fresh is not None:
        gains = gains | {"fresh": np.full((seeds, visits), fresh)}
    for name, table in gains.items():
        for seed, visit in np.ndindex(seeds, visits):
            value = float(table[seed, visit])
            if np.isnan(value):
                continue
            for place, reached in enumerate((0.0, 2 * value)):  # their mean is the gain
                extra = more(name, seed, visit, place) if more is not None else {}
                rows.append(_row(name, seed, visit, place, reached) | extra)
    return pd.DataFrame(rows)


def _row(name, seed, visit, place, value):
    intervention, _, network = name.removeprefix("classifier-").removeprefix("ppo-").partition("-")
    return {
        "arm": name if name.startswith(AGENTS) else f"ppo-{name}",
        "seed": seed,
        "visit": visit,
        "task": visit,
        "task_name": "Breakout",
        "family": "Breakout",
        "interventions": intervention,
        "setup": network,
        "measure": "return",
        "cycle": visit,
        "complete": True,
        "step": 200 * visit + 100 * (place + 1),
        "task_step": 100.0 * (place + 1),
        "width": 100.0,
        "return": value,
        "online_return": value,
        "score": np.nan,
        "charts/SPS": 1000.0,
    }
