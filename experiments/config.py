"""Configuration of runs and comparisons: what the command line reads and `config.json` keeps."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
import tyro

from neoteny.agents.classifier import ClassifierConfig
from neoteny.agents.dqn_loss import DQNConfig
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.core.errors import InputError
from neoteny.core.options import Text, check_fields
from neoteny.experiments.agent_kinds import AGENT_CONFIGS, AGENTS, AgentSettings
from neoteny.experiments.presets import PRESETS
from neoteny.plasticity.interventions import Intervention, make_interventions
from neoteny.plasticity.network_spec import PAPER_GAIN, NetworkSpec
from neoteny.wrappers.stream_files import StreamDefinition, read_stream
from neoteny.wrappers.supervised_streams import SupervisedDefinition

__all__ = ["PRESETS", "CompareConfig", "RunConfig", "TrainConfig", "arm_name"]


@dataclass(frozen=True)
class TrainConfig:
    """Options that a run and every arm of a comparison share."""

    agent: Literal["ppo", "dqn", "classifier", "sb3-ppo", "sb3-dqn"] = "ppo"
    """Learning algorithm; the classifier takes supervised streams, where a step is a sample. Those
    of Stable-Baselines3 take the hyper-parameters of ours."""
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
    """Number of members, trained together in one process; member i has seed first-seed + i."""
    first_seed: int = 0
    """Seed of the first member."""
    steps: int = 2_000_000
    """Environment steps per member, rounded up to whole iterations."""
    task_steps: int | None = None
    """Environment steps a task, rounded up to whole iterations; unset, the stream's own."""
    activation: str = "relu"
    """Activation of hidden layers: relu, groupsort, crelu, tanh, ..."""
    bias: bool = True
    """Give layers biases."""
    hidden: tuple[int, ...] = (64, 64, 64, 64)
    """Features of each linear hidden layer."""
    depth: int | None = None
    """Number of linear hidden layers, all of the one width that `hidden` then gives, as in
    `--hidden 64 --depth 64`; unset, as many as `hidden` lists."""
    init: Literal["orthogonal", "uniform"] = "orthogonal"
    """Initial weights; `uniform` is torch's own way, and so that of Stable-Baselines3's DQN."""
    gain: Literal["paper", "activation"] = "paper"
    """Gain of the orthogonal initialisation of hidden layers: `paper` is sqrt(2) for all,
    `activation` the one that keeps the signal's size, which deep networks need."""
    torso: Literal["mlp", "conv"] = "mlp"
    """`conv` puts convolutions before the linear layers, for observations that are grids."""
    channels: tuple[int, ...] = (16,)
    """Channels of each convolution of a conv torso."""
    kernel: tuple[int, ...] = (3,)
    """Side of the convolutions' kernels: one for all of them, or one each."""
    stride: tuple[int, ...] = (1,)
    """Step of the convolutions' kernels: one for all of them, or one each."""
    padding: tuple[int, ...] = (0,)
    """Zeros on each side of the convolutions' inputs: one for all of them, or one each."""
    residual: bool = False
    """Hand on each hidden layer's input with 1 / n of its output, in the n layers for which the two
    have one shape and the input is not the observation."""
    shared: bool = False
    """Let policy and value, or the branches of a dueling DQN, read one torso."""
    reset_optimizer: bool = True
    """Forget Adam's moments at every task switch, in all arms alike (the paper's protocol)."""
    ppo: PPOConfig | None = None
    """Hyper-parameters of PPO, if it is the agent."""
    dqn: DQNConfig | None = None
    """Hyper-parameters of DQN, if it is the agent."""
    classifier: ClassifierConfig | None = None
    """Hyper-parameters of the classifier, if it is the agent."""
    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:1`."""
    fast: bool = True
    """Compute all branches as one batched network whose gradient is in closed form, and binary
    observations by their ones; `--no-fast` runs the plain modules under autograd, which give the
    same numbers up to round-off."""
    cuda_graphs: bool = False
    """Record an update once and replay it as a CUDA graph, for the agents and interventions whose
    updates are all alike. Off until its speed has been measured on a GPU."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Type of the matrix products' factors; weights and moments are float32 in either."""
    threads: int | None = None
    """Threads for CPU arithmetic; unset, torch decides."""
    diagnose_every: int = 10
    """Iterations between two measurements of the plasticity diagnostics; 0 turns them off."""
    eval_episodes: int = 0
    """Episodes per member of an evaluation at the end of every task; 0 turns it off."""
    checkpoint_minutes: float = 5.0
    """Minutes between two checkpoints; one more is written at the end."""
    preset: str = "cpu"
    """Set of defaults for the other fields; see `list presets`."""

    limits: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("steps", "task_steps"), "at least 1"),
        **dict.fromkeys(("first_seed", "diagnose_every", "checkpoint_minutes"), "at least 0"),
        "seeds": "from 1 to 10,000",
        "eval_episodes": "from 0 to 100,000",
        "threads": "from 1 to 1,024",
        "depth": "from 1 to 1,000",
        **dict.fromkeys(("hidden", "channels"), "from 1 to 1,000,000"),
        **dict.fromkeys(("kernel", "stride"), "from 1 to 1,000"),
        "padding": "from 0 to 1,000",
        "env_timeout": "above 0",
    }

    def __post_init__(self) -> None:
        check_fields(self)
        self._keep_own_hyper()
        if self.stream is not None and self.stream_definition is None:
            object.__setattr__(self, "stream_definition", read_stream(self.stream))
            object.__setattr__(self, "env", self.stream.stem)
        check_device(self.device)
        if self.cuda_graphs and not self.device.startswith("cuda"):
            raise InputError(f"cuda_graphs need a GPU, but device is {self.device}: leave them out")
        if self.cuda_graphs and self.agent != "ppo":
            raise InputError(f"cuda_graphs serve the agent ppo, not {self.agent}: leave them out")
        _ = self.network_spec, self.options

    def _keep_own_hyper(self) -> None:
        """Give the agent hyper-parameters if it has none, and take away those of others."""
        own = AGENTS[self.agent].hyper
        for name, kind in AGENT_CONFIGS.items():
            if name != own:
                object.__setattr__(self, name, None)
            elif getattr(self, name) is None:
                object.__setattr__(self, name, kind())

    @property
    def hyper(self) -> Any:
        """The agent's hyper-parameters."""
        return getattr(self, AGENTS[self.agent].hyper)

    @property
    def network_spec(self) -> NetworkSpec:
        """The base network, before interventions change it."""
        return NetworkSpec(
            hidden=self.widths,
            activation=self.activation,
            bias=self.bias,
            torso=self.torso,
            channels=self.channels,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            residual=self.residual,
            shared=self.shared,
            init=self.init,
            hidden_gain=PAPER_GAIN if self.gain == "paper" else None,
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each linear hidden layer."""
        if self.depth is None:
            return self.hidden
        if len(set(self.hidden)) != 1:
            raise InputError(
                f"hidden is {self.hidden} and depth is {self.depth}: with a depth, give one width"
            )
        return self.hidden[:1] * self.depth

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
        for name in AGENT_CONFIGS:
            hyper = values.pop(name)
            if hyper is not None:
                values[name] = dataclasses.asdict(hyper)
        stream, definition = values.pop("stream"), values.pop("stream_definition")
        if definition is not None:
            values["stream_definition"] = definition.to_dict()
        if stream is not None:
            values["stream"] = str(stream.absolute())
        values["plugin"] = tuple(_absolute(name) for name in self.plugin)
        if AGENTS[self.agent].supervised:
            values["env_option"] = tuple(map(_with_absolute_data, self.env_option))
        return values


@dataclass(frozen=True)
class RunConfig(TrainConfig):
    """Train one agent with one set of interventions."""

    intervention: tuple[str, ...] = ("none",)
    """Interventions, composed left to right: names, or name:field=value,... to set strengths."""
    out: Path | None = None
    """Folder of the run; unset, results/runs/<env>/<arm>."""
    resume: Path | None = None
    """Continue the run in this folder from its checkpoint, with its configuration."""
    trust: bool = False
    """Run what the resumed run's config.json names: its plugins, its module, its Python stream."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.intervention:
            raise InputError("intervention is (): name at least one, such as none")
        spec = self.network_spec
        for intervention in self.make_interventions():
            spec = intervention.spec(spec)
        spec.require_bounded()

    def make_interventions(self) -> list[Intervention]:
        """New interventions, with the agent's defaults for what is not set."""
        return make_interventions(self.intervention, AGENTS[self.agent].hyper)

    @property
    def agent_settings(self) -> AgentSettings:
        """Arguments of the agent's constructor."""
        return AgentSettings(
            self.hyper,
            self.network_spec,
            self.make_interventions,
            self.seed_list,
            self.steps,
            self.fast,
            self.precision,
            self.cuda_graphs,
        )

    @property
    def arm(self) -> str:
        """Name of the run: agent, every intervention and what else was switched in the network."""
        return arm_name(self)

    @property
    def folder(self) -> Path:
        """Folder that the run is written to."""
        return self.out or Path("results/runs") / self.env.replace("/", "-") / self.arm

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the run's folder."""
        values = super().to_dict()
        del values["out"], values["resume"], values["trust"]
        return values


@dataclass(frozen=True)
class CompareConfig(TrainConfig):
    """Train every intervention on the same seeds and streams, then report."""

    interventions: tuple[str, ...] = ("none", "adamo")
    """Arms; join interventions with + to compose them, as in layer_norm+adamo."""
    activations: tuple[str, ...] = ()
    """Cross every arm with these activations; empty, only `activation`."""
    biases: tuple[bool, ...] = ()
    """Cross every arm with these choices of bias; empty, only `bias`."""
    torsos: tuple[Literal["mlp", "conv"], ...] = ()
    """Cross every arm with these torsos; empty, only `torso`."""
    depths: tuple[int, ...] = ()
    """Cross every arm with these numbers of layers; empty, only `depth`."""
    residuals: tuple[bool, ...] = ()
    """Cross every arm with these choices of skips; empty, only `residual`."""
    out: Path | None = None
    """Folder of the comparison; unset, results/runs/<env>-comparison."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.interventions:
            raise InputError("interventions is (): name at least one, such as none")
        arms = self.arms()
        names = [run.arm for run in arms]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"arm {name} is given twice: name each arm once")

    @property
    def folder(self) -> Path:
        """Folder that the comparison is written to."""
        return self.out or Path("results/runs") / f"{self.env.replace('/', '-')}-comparison"

    def arms(self) -> list[RunConfig]:
        """One run for every combination of interventions and what they are crossed with."""
        shared = {f.name: getattr(self, f.name) for f in dataclasses.fields(TrainConfig)}
        axes = [getattr(self, axis) or (shared[name],) for name, axis in CROSSED.items()]
        runs = []
        for text, *values in itertools.product(self.interventions, *axes):
            crossed = shared | dict(zip(CROSSED, values, strict=True))
            run = RunConfig(**crossed, intervention=tuple(text.split("+")))
            runs.append(dataclasses.replace(run, out=self.folder / run.arm))
        return runs


CROSSED = {
    "activation": "activations",
    "bias": "biases",
    "torso": "torsos",
    "depth": "depths",
    "residual": "residuals",
}
"""Fields of a run to those of a comparison that list what its arms are crossed with."""


def arm_name(config: RunConfig) -> str:
    """Name a run after everything that distinguishes it from the default arm.

    Every intervention is in the name, with its settings, and so is what differs in the network,
    as in "ppo-adamo-groupsort-nobias-conv16x32-depth8-residual".
    """
    parts = [config.agent, "+".join(config.intervention).replace(":", "-").replace(",", "-")]
    if config.activation != "relu":
        parts.append(config.activation)
    if not config.bias:
        parts.append("nobias")
    if config.torso == "conv":
        parts.append("conv" + _times(config.channels))
        defaults = NetworkSpec()
        for name in ("kernel", "stride", "padding"):
            if getattr(config, name) != getattr(defaults, name):
                parts.append(name + _times(getattr(config, name)))
    if config.depth is not None:
        parts.append(f"depth{config.depth}")
        parts += [f"width{width}" for width in config.hidden[:1] if width != 64]
    parts += [config.init] * (config.init != "orthogonal")
    parts += [f"{config.gain}gain"] * (config.gain != "paper")
    parts += [name for name in ("residual", "shared") if getattr(config, name)]
    return "-".join(parts)


def _absolute(plugin: str) -> str:
    """A file by a path that holds in every folder; a module as it is."""
    return str(Path(plugin).absolute()) if plugin.endswith(".py") else plugin


def _with_absolute_data(option: str) -> str:
    """The folder of a data set by a path that holds in every folder; others as they are."""
    name, equals, value = option.partition("=")
    return f"{name}={Path(value).absolute()}" if equals and name == "data" else option


def _times(values: tuple[int, ...]) -> str:
    return "x".join(map(str, values))


def check_device(name: str) -> None:
    """Refuse a device that torch does not have here.

    Raises:
        InputError: Naming it.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise InputError(f"device is {name!r}: use cpu, cuda or one GPU as in cuda:1")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and not count:
        raise InputError(f"device is {name}, but this torch sees no CUDA: use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InputError(f"device is {name}, but the last one is cuda:{count - 1}: use that")
