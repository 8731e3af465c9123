"""The page on interventions: a table of all, and how often each acts within a task of a preset.

`python -m neoteny.experiments.timings > docs/interventions.md` writes the page anew.
"""

from __future__ import annotations

from neoteny.core.console import as_markdown
from neoteny.experiments import catalogue
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.presets import preset_values
from neoteny.plasticity.interventions import INTERVENTIONS, OptimizerSettings, parse_intervention
from neoteny.plasticity.interventions.timing import LONGEST, OFTEN, SHORTEST, how_often
from neoteny.wrappers.schedules import aligned
from neoteny.wrappers.streams import TASK_STEPS

__all__ = ["COLUMNS", "page", "preset_settings"]

COLUMNS = {
    "PPO, `cpu`": ("ppo", "cpu"),
    "PPO, `paper`": ("ppo", "paper"),
    "DQN, `cpu`": ("dqn", "cpu"),
    "classifier, `supervised`": ("classifier", "supervised"),
    "classifier, `paper-supervised`": ("classifier", "paper-supervised"),
}
"""Heading to agent and preset."""

_HEAD = """# Interventions

All interventions: what each does, its paper, its defaults and cost, and how often it acts. An
intervention is anything that is done to network, loss, gradient, optimiser or weights to keep a
network learning.

- Several are composed from left to right: `--intervention layer_norm adamo`.
- Settings follow a colon: `--intervention redo:tau=0.1,period=0.2tasks`.
  `python train.py list interventions NAME` explains one with its settings.
- In the table, defaults are those of PPO and the classifier; those of DQN are in brackets where
  they differ. "Tuned in" are the ranges that `tune` searches ([tuning.md](tuning.md)).
- Activation (`--activation`), biases (`--no-bias`) and initialisation (`--init`, `--gain`) are
  options of the network.
- Which of them helped is on the page of [results](../results/README.md);
  [extending.md](extending.md) shows one of your own.
"""

_COSTS = """## What they use and cost

"Hooks" are the places in a gradient step at which the intervention acts, "needs" is what the agent
must provide, "keeps" are tensors besides the optimiser's, "time" is the extra work of an update
([measured](../results/speed/README.md#interventions)). Interventions in the column "not with"
cannot be combined; such a combination is refused.
"""

_TEXT = f"""## When interventions act

A setting that is a time (`period`, `half_life`, `lifetime`, `maturity`, `longest`, `memory`,
`after`, `at`, `response`) has a unit:

- a plain number is in environment steps of one member, or samples of the classifier:
  `period=10000`;
- `0.1tasks` is a tenth of a task;
- `1targets` is the time from one change of the targets to the next: a rollout of PPO, an update of
  DQN's target network. A classifier's targets change only with the task, so there it means task
  switches;
- `none`, where it is allowed, means task switches; the run is then told of them;
- a half-life of `inf` means no pull.

The `scale` of an isometry step is the squared singular value towards which layers are pulled. With
`scale=free`, as in `adamo:scale=free`, singular values are pulled towards their own mean.

**Lengths of tasks.** Defaults are in tasks and targets, so that they mean the same for agents whose
updates per environment step differ 80-fold. The agent converts them to its updates. PPO rounds the
periods of edits up to whole iterations, since a rollout belongs to the policy that collected it.
The length of a task is that of the stream: its mean if lengths differ, the whole run if there is
one task. A run of one task that is continued with more steps keeps its periods. Code that builds
agents itself gives the length as the argument `task_steps`, by default 500,000.

**Warnings.** A run prints how often its interventions act when it starts. It warns of an
intervention

- that hardly acts: less than once a task, only on a task's last update, or with a half-life above
  {LONGEST:g} tasks (one of several tasks is no fault: with GroupSort weak pulls were better);
- that leaves too little time to learn: it replaces whole layers {OFTEN} times a task or more, or
  has a half-life below {SHORTEST:g} tasks. `muono`'s may be shorter since its steps are longer,
  five times by default.

**Together.** An intervention that edits weights tells the others: units that one has drawn anew
have no age, utility or silence for another, and `c_chain` compares no outputs across an edit.

The table below and the rest of this page are written by
`python -m neoteny.experiments.timings > docs/interventions.md`. The tasks of its presets are
"""


def preset_settings(agent: str, preset: str) -> OptimizerSettings:
    """Optimiser settings that interventions get from an agent with a preset."""
    config = RunConfig(**preset_values(preset, agent))
    task = aligned(config.task_steps or TASK_STEPS, config.hyper.steps_per_iteration)
    settings: OptimizerSettings = config.hyper.optimizer_settings(float(task))
    return settings


def page() -> str:
    """The page of documentation, in Markdown."""
    settings = {column: preset_settings(*where) for column, where in COLUMNS.items()}
    tasks = "\n".join(
        f"- {column}: {found.task_steps:,.0f} steps, {found.updates_per_task:,.0f} updates"
        for column, found in settings.items()
    )
    rows = [["intervention", *COLUMNS], ["---"] * (1 + len(COLUMNS))]
    for name in INTERVENTIONS:
        cells = [
            how_often(parse_intervention(name, COLUMNS[column][0]), found) or "-"
            for column, found in settings.items()
        ]
        rows.append([name, *cells])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    known = catalogue.interventions()
    first = as_markdown(known, ("name", "what it does", "paper", "defaults", "tuned in"))
    costs = as_markdown(known, ("name", "hooks", "needs", "keeps", "time", "not with"))
    return f"{_HEAD}\n{first}\n\n{_TEXT}\n{tasks}\n\n{table}\n\n{_COSTS}\n{costs}\n"


if __name__ == "__main__":
    print(page(), end="")
