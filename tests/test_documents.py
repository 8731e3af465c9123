"""Promises of the pages: links have targets, snippets run, commands parse."""

import importlib
import os
import re
import shlex
import subprocess
from pathlib import Path

import gymnasium
import pandas as pd
import pytest
import tyro
from scipy import stats

import neoteny.envs
import neoteny.experiments.listing  # registers everything
import neoteny.experiments.main
from neoteny.core.registry import REGISTRIES

ROOT = Path(neoteny.envs.__file__).parents[1]
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/**/*.md")]
    if path.relative_to(ROOT).parts[0] in {path.name, "docs", "examples", "results"}
    and "runs" not in path.relative_to(ROOT).parts
)
GUIDES = [path for path in PAGES if path.relative_to(ROOT).parts[0] != "results"]


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def name_of(path):
    return str(path.relative_to(ROOT))


def anchors(path):
    """Anchors that GitHub gives to the headings of a page."""
    found = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 7_000


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if not link.startswith(("http:", "https:")):
            target, _, anchor = link.partition("#")
            there = path.parent / target if target else path
            assert there.exists(), link
            assert not anchor or anchor in anchors(there), link


def test_the_indices_name_every_page():
    docs = (ROOT / "docs/index.md").read_text()
    site = (ROOT / "mkdocs.yml").read_text()
    for path in (ROOT / "docs").rglob("*.md"):
        name = path.relative_to(ROOT / "docs").as_posix()
        assert name == "index.md" or f"]({name})" in docs, path
        assert f"- docs/{name}\n" in site, path
    results = (ROOT / "results/README.md").read_text()
    for folder in {path.relative_to(ROOT / "results").parts[0] for path in PAGES if
                   path not in GUIDES} - {"README.md"}:  # fmt: skip
        assert f"]({folder}/README.md)" in results, folder
    examples = (ROOT / "examples/README.md").read_text()
    for path in (ROOT / "examples").glob("*.[pi]*"):
        assert f"]({path.name})" in examples, path


def test_the_page_of_streams_names_them_all():
    rows = re.findall(r"^\| `([\w-]+)` \|", (ROOT / "docs/streams.md").read_text(), re.MULTILINE)
    kinds = ("stream", "schedule kind", "change kind", "kind of supervised stream")
    ours = [
        name
        for kind in kinds
        for name in REGISTRIES[kind]
        if REGISTRIES[kind][name].__module__.startswith("neoteny.")  # other tests have their own
    ]
    assert sorted(rows) == sorted(ours)


def test_every_published_table_stands_on_a_page():
    for path in (ROOT / "results").glob("*/**/*.csv"):
        folder, *_ = path.relative_to(ROOT / "results").parts
        if folder != "runs":
            page = ROOT / "results" / folder / "README.md"
            assert f"]({path.relative_to(page.parent)})" in page.read_text(), path


def rates(table, *labels):
    """Median rate of each contender over its counted windows."""
    windows = pd.read_csv(ROOT / "results" / table).query("window > 0")
    rate = (windows["amount"] / windows["seconds"]).rename("rate")
    return rate.groupby([windows[label] for label in labels]).median()


def paired(table, work, ours):
    """Median over windows of a contender's rate over rejax's beside it, at one piece of work."""
    windows = pd.read_csv(ROOT / "results" / table).query("window > 0").query(work)
    rate = windows.assign(rate=windows["amount"] / windows["seconds"])
    beside = rate.pivot_table(index="window", columns="contender", values="rate")
    return (beside[ours] / beside["rejax"]).median()


def quotes():
    """The README's numbers as its CSV files give them."""
    arms = pd.read_csv(ROOT / "results/continual-minatar/summary.csv").set_index("arm")

    def interval(arm, name):
        low, value, high = (arms.loc[arm, f"{name}{end}"] + 0.0 for end in ("_low", "", "_high"))
        return f"{round(value, 2) + 0.0:.2f} [{low:.2f}, {high:.2f}]"

    adam, adamo = "ppo-none", "ppo-adamo-half_life=100000"
    yield interval(adam, "gap"), interval(adamo, "gap")
    pairs = pd.read_csv(ROOT / "results/breakout/comparisons.csv").query("versus == 'chosen'")
    pairs = pairs.set_index("arm")
    shares = pd.read_csv(ROOT / "results/breakout/abilities.csv").set_index("arm")
    for name in ("groupsort+shrink_perturb", "groupsort", "none", "adamo"):
        beside, share = (rows.loc[f"ppo-{name}-nobias"] for rows in (pairs, shares))
        ends = [
            f"[{row[f'{of}_low']:.2f}, {row[f'{of}_high']:.2f}]"
            for row, of in ((beside, "difference"), (share, "last"))
        ]
        first = f"{beside['difference']:+.2f} {ends[0]} | {share['first']:.2f} | "
        yield (f"{first}{share['last']:.2f} {ends[1]}",)
    training = rates("speed/preset/training.csv", "path", "contender")["fp32"]
    for pair in (("neoteny Adam", "neoteny AdamO"), ("rejax", "SB3")):
        yield tuple(f"{round(training[name], -2):,.0f}" for name in pair)
    alone = paired("speed/dqn-128/dqn.csv", "network == '64x64'", "neoteny")
    work = "network == '64x64' and `steps an update` == 128"
    yield f"{alone:.1f}", f"{paired('speed/dqn.csv', work, 'neoteny, 8 members'):.1f}"
    minatar = rates("speed/environments.csv", "game", "lanes", "contender")
    games = ("Breakout", "Asterix", "Freeway", "SpaceInvaders")
    yield tuple(f"{minatar[f'MinAtar-{game}-v1', 2048, 'neoteny'] / 1e6:.1f}" for game in games)
    grids = rates("environments/speed.csv", "game", "lanes", "contender")
    times = []
    for game in ("Empty-8x8", "DoorKey-8x8", "FourRooms"):
        own = grids[f"MiniGrid-{game}-v0", 2048]
        times.append(f"{own['neoteny'] / own.drop(['neoteny', 'reference']).max():.1f}")
    yield tuple(times)
    exact = pd.read_csv(ROOT / "results/environments/exactness.csv")
    yield (f"{exact['steps compared'].sum() / 1e6:.2f} M, no mismatch",)
    assert not exact["mismatches"].any()
    yield (f"{len(exact)} kinds of environment",)


def test_the_readme_quotes_what_was_measured():
    text = (ROOT / "README.md").read_text()
    assert [numbers for numbers in quotes() if " · ".join(numbers) not in text] == []


def test_the_page_of_the_factors_has_their_effects():
    """Means over the other two factors and both late visits, paired by seed, with t intervals."""
    visits = pd.read_csv(ROOT / "results/factors/visits.csv").query("visit >= 4")
    late = visits.groupby(["seed", "arm"])["value"].mean().unstack()
    late = late.loc[:, ~late.columns.str.startswith("ppo-fresh")]
    effects = []
    for part in ("-groupsort", "adamo", "-nobias"):
        has = late.columns.str.contains(part)
        pairs = late.loc[:, has].mean(axis=1) - late.loc[:, ~has].mean(axis=1)
        half = stats.t.ppf(0.975, len(pairs) - 1) * pairs.sem()
        mean = pairs.mean()
        effects.append(f"{mean:+.2f} [{mean - half:.2f}, {mean + half:.2f}]")
    page = " ".join((ROOT / "results/factors/README.md").read_text().split())
    assert [each for each in effects if each not in page] == []


SNIPPETS = {text: name_of(path) for path in GUIDES for text in blocks(path, "python")}
MINE = "\n".join(blocks(ROOT / "docs/extending.md", "python"))
SNIPPETS = {text: name for text, name in SNIPPETS.items() if text not in MINE} | {MINE: "mine.py"}


@pytest.fixture(autouse=True)
def moon(monkeypatch):
    """Gymnasium does not know yet what a page registers."""
    monkeypatch.delitem(gymnasium.registry, "Moon-v0", raising=False)


SMALLER = {
    "learn(10_000": "learn(256",
    "10_000": "1_024",
    "2_048": "1_024",
    "1_024": "512",
    'PPO("MlpPolicy", "CartPole-v1")': 'PPO("MlpPolicy", "CartPole-v1", n_steps=256)',
}
"""Sizes in the snippets, and those with which they run here."""


@pytest.mark.parametrize("text", SNIPPETS, ids=list(SNIPPETS.values()))
def test_snippets_run(text, tmp_path, monkeypatch, own_names, undrawn):
    monkeypatch.chdir(tmp_path)
    sizes = "|".join(map(re.escape, SMALLER))
    text = re.sub(sizes, lambda size: SMALLER[size[0]], text)
    exec(compile(text, "snippet", "exec"), {"__name__": "snippet"})


def commands(path):
    """The command lines of a page: those of its code blocks, then those within its sentences."""
    text = path.read_text()
    lines = "".join(blocks(path, "")).replace("\\\n", " ").splitlines()
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    for line in [*lines, *inline]:
        if re.match(r"(python (train\.py |benchmarks/)|neoteny |make )[a-z]", line):
            words = shlex.split(line, comments=True)
            yield words[words[0] == "python" :]


COMMANDS = sorted(
    {
        (name_of(path), shlex.join(words))
        for path in PAGES
        for words in commands(path)
        if not re.search(r"--help|\b(RUN|DIR|KIND|NAME|PATH|FILE|STREAM)\b", shlex.join(words))
    }
)


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_commands_are_understood(page, command, tmp_path, monkeypatch, own_names):
    words = shlex.split(command)
    if words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text()
    elif words[0].startswith("benchmarks/"):
        monkeypatch.syspath_prepend(ROOT / "benchmarks")
        module = importlib.import_module(Path(words[0]).stem)
        tyro.cli(module.Config, args=words[1:])
    else:  # train.py or neoteny
        for text in blocks(ROOT / page, "yaml"):
            (tmp_path / "drifting.yaml").write_text(text)
        (tmp_path / "mine.py").write_text(MINE)
        (tmp_path / "results").symlink_to(ROOT / "results")  # for plans; nothing is run
        asked = []
        commands = neoteny.experiments.main.COMMANDS.values()
        places = [f"neoteny.experiments.{place}" for _, place, _ in commands]
        for place in places:  # before one is replaced that another imports
            importlib.import_module(place.partition(":")[0])
        for place in places:
            monkeypatch.setattr(place.replace(":", "."), lambda *a, **_: asked.append(a))
        monkeypatch.chdir(tmp_path)
        assert neoteny.experiments.main.main(words[1:]) == 0
        assert len(asked) == 1


def test_the_job_array_compares_blocks_of_seeds(tmp_path, monkeypatch, own_names):
    (script,) = blocks(ROOT / "docs/clusters.md", "bash")
    stub = tmp_path / "neoteny"
    stub.write_text("#!/bin/bash\nprintf '%s\\n' \"$@\"\n")
    stub.chmod(0o755)
    asked = []
    monkeypatch.setattr("neoteny.experiments.cli.compare", lambda *a, **_: asked.append(a[0]))
    for job in range(2):
        environment = {"SLURM_ARRAY_TASK_ID": str(job), "SLURM_CPUS_PER_TASK": "4"}
        environment["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
        command = ["bash", "-eu", "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert neoteny.experiments.main.main(done.stdout.splitlines()) == 0
    assert [config.seed_list for config in asked] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [config.folder.as_posix() for config in asked] == ["study/block-0", "study/block-1"]


def test_the_readme_counts_the_interventions_that_there_are():
    known = [c for c in REGISTRIES["intervention"].values() if c.__module__.startswith("neoteny.")]
    assert (
        f" {len(known)} interventions stand behind one interface"
        in (ROOT / "README.md").read_text()
    )
