"""Continual reinforcement learning in PyTorch: agents that keep the ability to learn.

Example:
    >>> import neoteny
    >>> run = neoteny.train(env="cartpole-permute", intervention="adamo", seeds=4, steps=200_000)
    >>> run.metrics  # a tidy table of everything that was recorded
    >>> actions, _ = run.predict(observations)
    >>> neoteny.compare(env="cartpole-permute", interventions=["none", "adamo", "fresh"], seeds=4)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neoteny.experiments.api import TrainedRun, compare, load, results, scores, train, tune

__all__ = ["TrainedRun", "__version__", "compare", "load", "results", "scores", "train", "tune"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, and torch with it, only then."""
    if name == "__version__":
        from importlib.metadata import version

        return version("neoteny")
    if name in __all__:
        from neoteny.experiments import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
