"""Frequency of interventions within a task, in words: for the start of a run and for the docs."""

from __future__ import annotations

import math

from neoteny.plasticity.interventions.intervention import Intervention
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.optimizer_settings import OptimizerSettings

LONGEST = 40.0
"""Half-life in tasks from which on a pull counts as none; the streams here have 80 tasks."""
SHORTEST = 0.1
"""Half-life in tasks below which a pull undoes what a task teaches: results/breakout-tuning.

Measured beside steps of the agent's learning rate. Where steps are longer, a pull may be faster by
the same factor, as the deviation at which both balance depends on their ratio: beside the steps of
MuonO, five times as long, ReLU networks kept more with a half-life of 0.028 tasks than without a
pull (there and in results/digits-tuning).
"""
OFTEN = 3
"""Times a task from which on replacing whole layers does so: results/breakout-tuning."""
REPLACES = {Trait.REDRAWS_LAYERS, Trait.PROJECTS_TO_ISOMETRY}
HARMLESS = {Trait.FIXES_LENGTHS, Trait.AVERAGES_WEIGHTS}
"""Of pulls that undo nothing, however fast: lengths and running means of the weights themselves."""


def how_often(intervention: Intervention, settings: OptimizerSettings) -> str:
    """Times and speed of an intervention, such as "10.3 times a task"; empty if it does nothing."""
    if not intervention.hooks:
        return ""
    parts = [_acts(intervention.acts_every(settings), settings)]
    if intervention.acts_at_most < math.inf:
        parts.append(f"{intervention.acts_at_most:g} in a run at most")
    rates = intervention.strength(settings)
    if rate := rates.get("decay_rate"):
        updates = math.log(2) / rate
        steps = updates / settings.updates_per_step
        tasks = updates / settings.updates_per_task
        parts.append(f"half-life {_short(tasks)} tasks ({steps:,.0f} steps)")
    if rate := rates.get("replacement_rate"):
        parts.append(f"replaces {rate * settings.updates_per_task:.0%} of the units a task")
    if rate := rates.get("redraw_rate"):
        parts.append(f"redraws {rate * settings.updates_per_task:.0%} of the weights a task")
    return ", ".join(parts)


def inert(intervention: Intervention, settings: OptimizerSettings) -> str:
    """Reason that it does nothing, or nothing within a task; empty if it acts."""
    if not intervention.hooks:
        return "" if intervention.name == "none" else "overrides no hook, so it does nothing"
    every = intervention.acts_every(settings)
    task = settings.updates_per_task
    rate = intervention.strength(settings).get("decay_rate")
    if every and every > task:
        return f"acts but once in {_short(every / task)} tasks"
    if every and every > 1 and every > task / 2 and round(task) % every == 0:
        return "acts on the last update of a task alone, where no more is learnt from it"
    if rate is not None and not rate * task * LONGEST >= math.log(2):
        return f"takes more than {LONGEST:g} tasks to halve anything"
    return ""


def destructive(intervention: Intervention, settings: OptimizerSettings) -> str:
    """Reason that networks can hardly learn within a task beside it; empty if they can."""
    task = settings.updates_per_task
    every = intervention.acts_every(settings)
    if every and intervention.traits & REPLACES and task / every >= OFTEN:
        return f"replaces whole layers {_short(task / every)} times a task"
    rate = intervention.strength(settings).get("decay_rate")
    if not rate or intervention.traits & HARMLESS:
        return ""
    half_life = math.log(2) / rate
    if half_life * intervention.step_length(settings) < SHORTEST * task * settings.learning_rate:
        return f"undoes half of what is learnt in {_short(half_life / task)} tasks"
    return ""


def _acts(every: int | None, settings: OptimizerSettings) -> str:
    if every is None:
        return "at task switches"
    if every == 0:
        return "when the network is built"
    if every == 1:
        return "in every update"
    return f"{_short(settings.updates_per_task / every)} times a task"


def _short(number: float) -> str:
    """Three significant digits."""
    return f"{number:.3g}" if number < 1000 else f"{number:,.0f}"
