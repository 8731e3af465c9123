"""Facts that a run states before it begins: rounded counts of steps, interventions' strengths."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Console

from neoteny.agents.agent import Agent
from neoteny.core.console import caution
from neoteny.experiments.options.config import RunConfig
from neoteny.plasticity.interventions.timing import destructive, how_often, inert

__all__ = ["announce", "strengths"]


def announce(config: RunConfig, agent: Agent, console: Console) -> None:
    """Print what was rounded and how often interventions act; warn of idle and destructive ones."""
    learner = agent.learner
    for text in _rounded(config):
        console.print(f"{config.arm}: {text}", soft_wrap=True)
    for intervention in learner.interventions:
        name, settings = intervention.name, learner.settings
        if text := how_often(intervention, settings):
            console.print(f"{config.arm}: {name} acts {text}", soft_wrap=True)
        if reason := inert(intervention, settings):
            task = f"a task has {settings.task_steps:,.0f} environment steps"
            caution(console, f"{name} {reason}" + f"; {task}" * bool(intervention.hooks))
        if reason := destructive(intervention, settings):
            caution(console, f"{name} {reason}: give it a longer time or a weaker strength")
        if config.reset_optimizer and intervention.resets_as_all_do:
            caution(
                console,
                f"every arm forgets its moments at task switches, so {name} adds nothing: "
                f"use --no-reset-optimizer or {name}:period=STEPS",
            )


def _rounded(config: RunConfig) -> Iterator[str]:
    """Counts of steps that are rounded up to whole iterations."""
    size = config.hyper.steps_per_iteration
    for name, steps in (("steps", config.steps), ("task_steps", config.task_steps)):
        if steps is not None and steps % size:
            played = math.ceil(steps / size) * size
            option = name.replace("_", "-")
            yield f"--{option} {steps:,} is rounded up to {played:,}, iterations of {size:,}"


def strengths(config: RunConfig, agent: Agent) -> dict[str, float]:
    """Effective strengths per update and their half-lives in environment steps."""
    found: dict[str, float] = {}
    for intervention in agent.learner.interventions:
        rates = intervention.strength(agent.learner.settings)
        for name, value in rates.items():
            found[f"{intervention.name}/{name}"] = value
        if rate := rates.get("decay_rate"):
            updates = math.log(2) / rate
            found[f"{intervention.name}/half_life_steps"] = updates / config.hyper.updates_per_step
    return found
