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

Every plasticity-preserving baseline behind one interface. They are composed left to right:
`--intervention layer_norm adamo`. `python train.py list interventions NAME` explains one with its
settings. Defaults are those of PPO and the classifier, in brackets DQN's where they differ; `tune`
searches the ranges beside them ([tuning.md](tuning.md)).
Activation (`--activation`), biases (`--no-bias`) and optimiser are separate switches.
"""

_COSTS = """## What they use and cost

"Hooks" are the learner's, "needs" is what the agent must provide, "keeps" the tensors beside the
optimiser's, "time" the extra work of an update
([measured](../results/speed/README.md#interventions)). What does not go together is refused.
"""

_TEXT = f"""## When interventions act

A setting that is a time (`period`, `half_life`, `lifetime`, `maturity`, `longest`, `memory`,
`after`, `at`, `response`) has a unit:

- a plain number is environment steps of one member, samples for the classifier: `period=10000`;
- `0.1tasks` is a tenth of a task;
- `1targets` is from one change of the targets to the next: a rollout of PPO, a target network of
  DQN. A classifier's targets change with the task alone, so there it means task switches;
- `none`, where it is allowed, means task switches, of which the run is then told;
- a half-life of `inf` means no pull at all.

The `scale` of an isometry step is the squared singular value that layers are pulled to. With
`scale=free`, as in `adamo:scale=free`, singular values are pulled towards each other alone,
wherever their mean is.

The defaults are in tasks and targets, so that they mean the same for agents whose updates per
environment step differ 80-fold. The agent translates them to its updates; PPO rounds edits of
weights up to whole iterations, since a rollout is of the policy that collected it. A task is what
the stream says, its mean length if lengths differ, and the whole run where there is one task. A run
of one task that is continued with more steps keeps the periods that it began with. In code that
builds agents itself it is their argument `task_steps`, by default 500,000.

A run prints this for its interventions when it starts, and warns of one that acts less than once a
task, only on a task's last update, or with a half-life above {LONGEST:g} tasks. A half-life of
several tasks is no fault: on GroupSort a weak pull was the better one. It warns as well of what
replaces whole layers {OFTEN} times a task or more, and of a half-life below {SHORTEST:g} tasks, in
which little can be learnt; `muono`'s may be shorter as its steps are longer, five times by default.

Edits tell other interventions: units that one has drawn anew have no age, utility or silence for
another, and `c_chain` compares no outputs across an edit. What cannot be composed is refused.

The table is made by `python -m neoteny.experiments.timings > docs/interventions.md`; its presets'
tasks are
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
