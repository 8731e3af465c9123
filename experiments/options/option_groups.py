"""Groups in which `--help` shows the options of runs and comparisons."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["GROUPS"]

GROUPS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "": (
        "",
        (
            *("env", "agent", "intervention", "interventions", "steps", "task_steps"),
            *("seeds", "first_seed", "out", "preset", "config"),
        ),
    ),
    "comparison": (
        "Values that are crossed with the interventions: an arm for each combination.",
        ("tuned", "vary", "activations", "biases", "torsos", "depths", "residuals"),
    ),
    "engine": (
        "Where the units of a comparison are trained: an arm and a block of its seeds each.",
        ("engine", "jobs", "block", "address", "gpus", "partition", "time_limit", "dry_run"),
    ),
    "stream": (
        "The stream of tasks, and the protocol at its switches.",
        ("env_option", "env_timeout", "stream", "stream_definition", "reset_optimizer"),
    ),
    "measuring": (
        "Diagnostics, evaluation and checkpoints.",
        (
            *("diagnose_every", "diagnose_switches", "eval_episodes", "evaluate_tasks"),
            *("evaluate_every", "wandb", "checkpoint_minutes"),
        ),
    ),
    "device": (
        "Device and speed.",
        ("device", "threads", "precision", "fast", "cuda_graphs", "check_graphs"),
    ),
    "code": (
        "Code of your own, and runs that go on.",
        ("plugin", "overwrite", "resume", "trust"),
    ),
}
"""A group's heading to what it is about and the options in it, see `option_rules`."""
