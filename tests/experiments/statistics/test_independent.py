"""All numbers of a report computed again from the files of its runs, by other means.

Nothing of the package is used for them but the writing of the report: numbers come from csv, numpy
and scipy. The comparison has one environment, an oracle, a visit in which no episode ended, and a
matrix of tasks.
"""

import csv
import json
import math
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from neoteny.experiments.statistics.comparisons import comparison_table
from neoteny.experiments.statistics.continual_table import continual_table
from neoteny.experiments.statistics.matrices import read_matrices
from neoteny.experiments.statistics.runs import find_runs, frame_of
from neoteny.experiments.statistics.summary import summary_of_visits
from neoteny.experiments.statistics.visits import visit_values

ARMS, SEEDS, VISITS, ROWS, WIDTH = ("none", "adamo", "shrink", "fresh"), 5, 6, 20, 10
BLANK = ("shrink", 3, 4)
NAN = float("nan")


def _curve(arm: str, seed: int, visit: int) -> np.ndarray:
    rng = np.random.default_rng([ARMS.index(arm), seed, visit])
    level = {"none": 10 - 1.2 * visit, "adamo": 9 - 0.2 * visit, "shrink": 8, "fresh": 10}[arm]
    part = np.arange(1, ROWS + 1) / ROWS
    values = 1 + (level + rng.normal()) * (1 - np.exp(-4 * part)) + 0.3 * rng.normal(size=ROWS)
    values[rng.random(ROWS) < 0.15] = NAN
    return values * NAN if (arm, seed, visit) == BLANK else values


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Files of the runs, written by hand, and the tables of the report."""
    root = tmp_path_factory.mktemp("independent")
    for arm in ARMS:
        for seed in range(SEEDS):
            folder = root / arm / f"seed_{seed}"
            folder.mkdir(parents=True)
            lines = ["step,task,visit,charts/episodic_return"]
            for visit in range(VISITS):
                for at, value in enumerate(_curve(arm, seed, visit)):
                    shown = "" if math.isnan(value) else repr(float(value))
                    step = (visit * ROWS + at + 1) * WIDTH
                    lines.append(f"{step},{visit % 3},{visit},{shown}")
            (folder / "metrics.csv").write_text("\n".join([*lines, ""]))
            (folder / "matrix.csv").write_text("\n".join([*_matrix_lines(arm, seed), ""]))
            config = {
                "arm": arm,
                "intervention": [arm],
                "seed": seed,
                "task_names": ["Cart"],
                "steps": VISITS * ROWS * WIDTH,
                "boundaries": [visit * ROWS * WIDTH for visit in range(1, VISITS)],
            }
            (folder / "config.json").write_text(json.dumps(config))
    runs = find_runs(root)
    frame = frame_of(runs)
    visits = visit_values(frame)
    tables = {
        "summary": summary_of_visits(visits),
        "continual": continual_table(frame, visits, read_matrices(runs)),
        "comparisons": comparison_table(visits),
    }
    for name, table in tables.items():
        table.to_csv(root / f"{name}.csv", index=False)
    return SimpleNamespace(root=root, raw={arm: _read(root, arm) for arm in ARMS})


def _matrix_lines(arm: str, seed: int) -> list[str]:
    rng = np.random.default_rng([9, ARMS.index(arm), seed])
    lines = ["step,task,visit,task_name,task_visit,eval/return"]
    for end in range(VISITS + 1):
        for task in range(3):
            last = max((v for v in range(end) if v % 3 == task), default=task)
            visit = "" if end == 0 else end - 1
            value = repr(float(5 + 3 * (last < end) + rng.normal()))
            lines.append(f"{end * ROWS * WIDTH},{task},{visit},Cart,{last},{value}")
    return lines


def _read(root: Path, arm: str) -> np.ndarray:
    """(S, V, rows) recorded returns; NaN where no episode ended."""
    found = np.full((SEEDS, VISITS, ROWS), NAN)
    for seed in range(SEEDS):
        with (root / arm / f"seed_{seed}" / "metrics.csv").open() as file:
            for row in csv.DictReader(file):
                at = int(row["step"]) // WIDTH - 1
                value = float(row["charts/episodic_return"] or "nan")
                found[seed, int(row["visit"]), at % ROWS] = value
    return found


def _table(made: SimpleNamespace, name: str, key: str = "arm") -> dict[str, dict[str, str]]:
    with (made.root / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {row[key] + row.get("versus", ""): row for row in rows}


def _filled(rows: np.ndarray) -> np.ndarray:
    """Blanks have the next value of the visit, those at its end the last."""
    values = rows.copy()
    for at in reversed(range(len(values) - 1)):
        values[at] = values[at + 1] if math.isnan(values[at]) else values[at]
    for at in range(1, len(values)):
        values[at] = values[at - 1] if math.isnan(values[at]) else values[at]
    return values


def _online(raw: np.ndarray) -> np.ndarray:
    return np.array([[_filled(visit).mean() for visit in run] for run in raw])


def _finals(raw: np.ndarray) -> np.ndarray:
    late = ROWS - ROWS // 10
    return np.array([[_filled(visit)[late:].mean() for visit in run] for run in raw])


def _firsts(raw: np.ndarray) -> np.ndarray:
    return np.array([[next(iter(v[~np.isnan(v)]), NAN) for v in run] for run in raw])


def _interval(values: np.ndarray) -> list[float]:
    values = values[np.isfinite(values)]
    reach = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return [values.mean(), values.mean() - reach, values.mean() + reach]


def _fieller(above: np.ndarray, below: np.ndarray) -> list[float]:
    """The ends at which a t test of above - θ below just refuses zero, by bisection."""
    ratio = above.mean() / below.mean()

    def refused(theta: float) -> bool:
        return bool(stats.ttest_1samp(above - theta * below, 0).pvalue < 0.05)

    ends = []
    for sign in (-1, 1):
        inside, outside = ratio, ratio + sign * 100
        for _ in range(100):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if refused(middle) else (middle, outside)
        ends.append(inside)
    return [ratio, *ends]


def _stored(row: dict[str, str], name: str) -> list[float]:
    return [float(row[f"{name}{end}"] or "nan") for end in ("", "_low", "_high")]


def _close(found: list[float], wanted: list[float]) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def test_summary(made: SimpleNamespace) -> None:
    rows = _table(made, "summary")
    fresh = _online(made.raw["fresh"])
    zero = np.nanmean(_firsts(made.raw["fresh"]))
    for arm in ARMS:
        online = _online(made.raw[arm])
        runs = np.nanmean(online, axis=1)
        _close(_stored(rows[arm], "score"), _interval(runs))
        assert int(rows[arm]["blank"]) == (arm == BLANK[0])
        kept = np.sort(runs)[1:4]
        assert float(rows[arm]["iqm"]) == pytest.approx(kept.mean())
        limited = np.sort(runs).clip(kept[0], kept[-1])
        reach = stats.t.ppf(0.975, 2) * math.sqrt(((limited - limited.mean()) ** 2).sum() / 6)
        _close(_stored(rows[arm], "iqm")[1:], [kept.mean() - reach, kept.mean() + reach])
        _close(_stored(rows[arm], "change"), _interval(online[:, -1] - online[:, 0]))
        if arm == "fresh":
            continue
        there = np.isfinite(online)
        missing = np.where(there, fresh - online, 0)
        gain = np.where(there, fresh - zero, 0)
        _close(_stored(rows[arm], "gap"), _fieller(missing.sum(axis=1), gain.sum(axis=1)))
        slopes = [
            np.polyfit(np.flatnonzero(t), m[t], 1)[0] for t, m in zip(there, missing, strict=True)
        ]
        means = gain.sum(axis=1) / there.sum(axis=1)
        _close(_stored(rows[arm], "gap_slope"), _fieller(np.array(slopes), means))


def _recovery(raw: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(S, V) share of the visit until the mean of each row (a twentieth) reaches the target."""
    found = np.full(raw.shape[:2], NAN)
    for seed, visit in np.ndindex(found.shape):
        seen = raw[seed, visit]
        if np.isfinite(seen).any() and np.isfinite(targets[seed, visit]):
            reached = [at for at in range(ROWS) if seen[at] >= targets[seed, visit]]
            found[seed, visit] = (reached[0] + 1) / ROWS if reached else math.inf
    return found


def test_continual(made: SimpleNamespace) -> None:
    rows = _table(made, "continual")
    zero = np.nanmean(_firsts(made.raw["fresh"]))
    ends = _finals(made.raw["fresh"])
    for arm in ARMS:
        row, raw = rows[arm], made.raw[arm]
        online, finals = _online(raw), _finals(raw)
        _close(_stored(row, "final"), _interval(np.nanmean(finals, axis=1)))
        for level in (50, 90):
            times = _recovery(raw, zero + level / 100 * (ends - zero))
            cut = np.minimum(times, 1)
            _close(_stored(row, f"recovery_{level}"), _interval(np.nanmean(cut, axis=1)))
            known = np.where(np.isnan(times), NAN, np.isfinite(times))
            _close(_stored(row, f"recovered_{level}"), _interval(np.nanmean(known, axis=1)))
            if level == 50:
                saved = [np.nanmean(run[:3] - run[3:]) for run in cut]
                _close(_stored(row, "savings"), _interval(np.array(saved)))
        dips = np.nanmean(_firsts(raw)[:, 1:] - finals[:, :-1], axis=1)
        _close(_stored(row, "dip"), _interval(dips))
        there = np.isfinite(online)
        missed = np.where(there, ends - online, 0).sum(axis=1)
        rise = np.where(there, ends - zero, 0).sum(axis=1)
        _close(_stored(row, "regret"), _fieller(missed, rise))
        gap = _table(made, "summary")[arm]
        if arm != "fresh":
            value, low, high = _stored(gap, "gap")
            _close(_stored(row, "forward_transfer"), [-value, -high, -low])


def test_matrix(made: SimpleNamespace) -> None:
    rows = _table(made, "continual")
    matrices = {}
    for arm in ARMS:
        for seed in range(SEEDS):
            values = np.full((VISITS + 1, 3), NAN)
            with (made.root / arm / f"seed_{seed}" / "matrix.csv").open() as file:
                for line in csv.DictReader(file):
                    end = int(line["visit"]) + 1 if line["visit"] else 0
                    values[end, int(line["task"])] = float(line["eval/return"])
            matrices[arm, seed] = values
    scale = np.max(np.abs(list(matrices.values())), axis=(0, 1))
    zero = np.nanmean(_firsts(made.raw["fresh"]))
    for arm in ARMS:
        found = defaultdict(list)
        for seed in range(SEEDS):
            values = matrices[arm, seed]
            found["average_performance"].append(values[-1].mean())
            lost = [values[4, 0] - values[6, 0], values[5, 1] - values[6, 1]]  # visits 3 and 4
            found["forgetting"].append(np.mean(lost))
            changes = (values[1:] - values[:-1]) / scale
            others = [(v, t) for v in range(VISITS) for t in range(3) if t != v % 3]
            found["isolated_forgetting"].append(
                -np.mean([changes[p] for p in others if p[0] > p[1]])
            )
            found["zero_shot"].append(np.mean([changes[p] for p in others if p[0] < p[1]]))
            found["jump_start"].append(np.mean([values[1, 1], values[2, 2]]) - zero)
        for name, runs in found.items():
            _close(_stored(rows[arm], name), _interval(np.array(runs)))


def test_comparisons(made: SimpleNamespace) -> None:
    rows = _table(made, "comparisons")
    means = {arm: np.nanmean(_online(made.raw[arm])) for arm in ARMS[:3]}
    best = max(means, key=lambda arm: means[arm])
    tested = {}
    for key, row in rows.items():
        arm, other = row["arm"], row["other"]
        assert other == ("none" if row["versus"] == "none" else best)
        left, right = _online(made.raw[arm]), _online(made.raw[other])
        both = np.isfinite(left) & np.isfinite(right)
        left, right = (np.nanmean(np.where(both, x, NAN), axis=1) for x in (left, right))
        assert int(row["blank"]) == int((~both).sum())
        _close(_stored(row, "difference"), _interval(left - right))
        late = [
            np.nanmean(np.where(both, _online(made.raw[name]), NAN)[:, -(VISITS // 3) :], axis=1)
            for name in (arm, other)
        ]
        _close(_stored(row, "late"), _interval(late[0] - late[1]))
        p = stats.ttest_rel(left, right).pvalue
        assert float(row["p"]) == pytest.approx(p)
        share = np.mean(left[:, None] > right[None, :])
        wilson = stats.binomtest(SEEDS, SEEDS).proportion_ci(method="wilson")
        assert float(row["improvement"]) == pytest.approx(share)
        if share == 1:
            assert float(row["improvement_low"]) == pytest.approx(wilson.low)
        effect = abs((left - right).mean() / (left - right).std(ddof=1))
        needed = float(row["seeds_needed"])
        assert _power(effect, needed) >= 0.8
        assert needed == 2 or _power(effect, needed - 1) < 0.8
        if arm != "fresh":
            tested[key] = p
    for versus in ("none", "best"):
        family = {key: p for key, p in tested.items() if key.endswith(versus)}
        running = 0.0
        for rank, (key, p) in enumerate(sorted(family.items(), key=lambda pair: pair[1])):
            running = max(running, min(1.0, p * (len(family) - rank)))
            assert float(rows[key]["p_holm"]) == pytest.approx(running)


def _power(effect: float, runs: float) -> float:
    critical = stats.t.ppf(0.975, runs - 1)
    nonzero = stats.nct(runs - 1, effect * math.sqrt(runs))
    return float(nonzero.sf(critical) + nonzero.cdf(-critical))
