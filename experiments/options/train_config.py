"""Options that runs and comparisons share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

import neoteny.agents
import neoteny.sb3.registered  # noqa: F401 (agents register themselves)
from neoteny.agents.agent import AGENTS, AgentConfig
from neoteny.core.errors import InputError
from neoteny.core.names import with_article
from neoteny.core.options import Text, check_fields
from neoteny.experiments.options.devices import check_device, check_graphs
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.wrappers.stream_files import StreamDefinition, read_stream
from neoteny.wrappers.supervised_streams import SupervisedDefinition

__all__ = ["TrainConfig"]

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


@dataclass(frozen=True)
class TrainConfig:
    """Options that a run and every arm of a comparison share."""

    agent: str = "ppo"
    """Learning algorithm, see `list agents`; the classifier takes supervised streams, where a step
    is a sample. Those of Stable-Baselines3 take the hyper-parameters of ours."""
    env: str = "minatar-continual"
    """Stream or environment id; see `list streams` and `list envs`."""
    env_option: tuple[str, ...] = ()
    """Options of the stream or environment as name=value, such as sticky=0.1 or max_steps=1000."""
    env_timeout: float | None = None
    """Seconds that a reset or a step of an environment may take, for environments of Gymnasium in
    processes of their own (`--env-option vectorization=async`); unset, any time."""
    stream: Path | None = None
    """YAML or Python file of a stream of your own, in place of `env`; a Python file is run."""
    plugin: tuple[str, ...] = ()
    """Python files or modules to run first, which register environments, interventions or changes
    of your own."""
    stream_definition: Annotated[
        StreamDefinition | SupervisedDefinition | None, tyro.conf.Fixed, tyro.conf.Suppress
    ] = None
    """Content of the stream file, which is read once."""
    seeds: int = 1
    """Number of members, trained together in one process; member i has seed first-seed + i. Each
    takes 16 bytes a weight, beside its lanes and its rollout or replay."""
    first_seed: int = 0
    """Seed of the first member; with one member, the seed of the run."""
    steps: int = 2_000_000
    """Environment steps per member, such as 500k, 2M or 1e6, rounded up to whole iterations."""
    task_steps: int | None = None
    """Environment steps a task, rounded up to whole iterations; unset, the stream's own."""
    network: NetworkOptions = dataclasses.field(default_factory=NetworkOptions)
    """Shape and initialisation of the network of every branch, such as policy and value."""
    reset_optimizer: bool = True
    """Forget Adam's moments at every task switch, in all arms alike (the paper's protocol)."""
    hyper: Annotated[AgentConfig, tyro.conf.arg(name="agent")] = None  # type: ignore[assignment]
    """Hyper-parameters of the agent; unset, its defaults."""
    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:1`."""
    fast: bool = True
    """Compute all branches as one batched network whose gradient is in closed form, and binary
    observations by their ones; `--no-fast` runs the plain modules under autograd, which give the
    same numbers up to round-off."""
    cuda_graphs: bool = False
    """Record a step of a rollout and an update once and replay them as CUDA graphs, where they are
    all alike. Off until its speed has been measured on a GPU."""
    check_graphs: int = 0
    """Replays of each CUDA graph that are compared, bit for bit, with the operations that it
    stands for; the run ends at the first that differs."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """Type of the matrix products' factors; weights and moments are float32 in all of them, and the
    isometry step never rounds. `tf32` is for CUDA, and fp32 elsewhere."""
    threads: int | None = None
    """Threads for CPU arithmetic; unset, torch decides."""
    diagnose_every: int = 10
    """Iterations between two measurements of the plasticity diagnostics, which are measured at both
    ends of every task as well; 0 turns them off."""
    diagnose_switches: tuple[Literal["activity", "jacobians", "kernel", "probe"], ...] = ()
    """Costlier diagnostics, measured in the first and last iteration of every task alone; `lens`
    and `validity` read them."""
    eval_episodes: int = 0
    """Episodes per member of an evaluation at the end of every task; 0 turns it off."""
    evaluate_tasks: int = 0
    """Number of tasks that are evaluated at the end of every task, each with `eval_episodes`: those
    played last, as they were in training, then those to come. The results go to matrix.csv, from
    which `report` computes forgetting and transfer; 0 turns it off."""
    evaluate_every: int = 0
    """Iterations between two such evaluations within a task; 0 for none."""
    wandb: bool = False
    """Have Weights & Biases follow the run (`pip install 'neoteny[wandb]'`): offline, in the run's
    folder, unless WANDB_MODE says otherwise."""
    checkpoint_minutes: float = 5.0
    """Minutes between two checkpoints; one more is written at the end."""
    preset: str = "cpu"
    """Set of defaults for the other fields; see `list presets`."""
    config: Path | None = None
    """YAML file of options by their names, or config.json of a run; options on the command line
    override it."""
    overwrite: bool = False
    """If the folder holds a run already, delete its files and train again; other files stay."""

    limits: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("steps", "task_steps"), "at least 1"),
        **dict.fromkeys(
            ("first_seed", "diagnose_every", "evaluate_every", "check_graphs"), "at least 0"
        ),
        "checkpoint_minutes": "at least 0",
        "seeds": "from 1 to 10,000",
        **dict.fromkeys(("eval_episodes", "evaluate_tasks"), "from 0 to 100,000"),
        "threads": "from 1 to 1,024",
        "env_timeout": "above 0",
    }

    groups: ClassVar[Mapping[str, tuple[str, tuple[str, ...]]]] = GROUPS
    """Groups in `--help`, see `option_rules`."""

    def __post_init__(self) -> None:
        cls = AGENTS.find(self.agent)
        if self.hyper is None:
            object.__setattr__(self, "hyper", cls.config_class())
        check_fields(self)
        if not isinstance(self.hyper, cls.config_class):
            raise InputError(
                f"hyper is {with_article(type(self.hyper).__name__)}: agent {self.agent} takes "
                f"{with_article(cls.config_class.__name__)}"
            )
        if self.stream is not None and self.stream_definition is None:
            object.__setattr__(self, "stream_definition", read_stream(self.stream))
            object.__setattr__(self, "env", self.stream.stem)
        check_device(self.device)
        if self.diagnose_switches and not self.diagnose_every:
            raise InputError(
                "diagnose_switches needs diagnostics, but diagnose_every is 0: raise it"
            )
        if self.evaluate_every and not self.evaluate_tasks:
            raise InputError("evaluate_every is for evaluate_tasks, which is 0: raise that as well")
        if self.cuda_graphs or self.check_graphs:
            check_graphs(self.device, cls, self.cuda_graphs)
        _ = self.options

    @property
    def shared(self) -> dict[str, Any]:
        """The options by name, without those of a run or a comparison alone."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(TrainConfig)}

    @property
    def seed_list(self) -> list[int]:
        """One seed per member."""
        return list(range(self.first_seed, self.first_seed + self.seeds))

    @property
    def options(self) -> dict[str, Any]:
        """`env_option` by name, as texts to be read once types are known, and `env_timeout`."""
        options: dict[str, Any] = {}
        if self.env_timeout is not None:
            options["env_timeout"] = self.env_timeout
        for text in self.env_option:
            name, equals, value = text.partition("=")
            if not equals:
                raise InputError(f"env option {text!r} has no value: write name=value")
            name = name.replace("-", "_")
            if name in options:
                raise InputError(f"env option {name!r} is given twice: give it once")
            options[name] = Text(value)
        return options

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values |= dataclasses.asdict(values.pop("network"))
        del values["config"], values["overwrite"]
        values[AGENTS[self.agent].family] = dataclasses.asdict(values.pop("hyper"))
        stream, definition = values.pop("stream"), values.pop("stream_definition")
        if definition is not None:
            values["stream_definition"] = definition.to_dict()
        if stream is not None:
            values["stream"] = str(stream.absolute())
        values["plugin"] = tuple(_absolute(name) for name in self.plugin)
        if AGENTS[self.agent].supervised:
            values["env_option"] = tuple(map(_with_absolute_data, self.env_option))
        return values


def _absolute(plugin: str) -> str:
    """A file by a path that holds in every folder; a module as it is."""
    return str(Path(plugin).absolute()) if plugin.endswith(".py") else plugin


def _with_absolute_data(option: str) -> str:
    """The folder of a data set by a path that holds in every folder; others as they are."""
    name, equals, value = option.partition("=")
    return f"{name}={Path(value).absolute()}" if equals and name == "data" else option
