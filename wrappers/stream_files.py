"""Streams of a user's own, read from a YAML or Python file."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import prod
from pathlib import Path
from typing import Any

from gymnasium.spaces import Discrete

from neoteny import envs
from neoteny.core.errors import InputError, error_context
from neoteny.core.options import show
from neoteny.core.own_code import naming, run_file
from neoteny.core.yaml_files import read_yaml
from neoteny.wrappers.aliases import Content, Description
from neoteny.wrappers.change_base import Change
from neoteny.wrappers.compose import OnSwitch, check_mode
from neoteny.wrappers.file_checks import (
    changes_in,
    check_keys,
    completed,
    described,
    options_in,
    plain,
    text,
    texts,
)
from neoteny.wrappers.member_schedules import MemberSchedules
from neoteny.wrappers.schedules import Periodic, RandomOrder, Schedule
from neoteny.wrappers.streams import TASK_STEPS, Stream, StreamContext
from neoteny.wrappers.supervised_streams import SupervisedDefinition, define_supervised
from neoteny.wrappers.taskswitch import TaskSwitch
from neoteny.wrappers.vector import NonStationaryVector

KEYS = ("name", "environments", "schedule", "changes", "on_switch", "task_names", "options")
TASK_KEYS = ("id", "name", "options")


@dataclass(frozen=True)
class StreamDefinition:
    """A stream before it is built: the checked content of a file.

    Args:
        name: of the stream.
        environments: for each task of a chain, or for the one environment: its `id` and,
            optionally, `name` and `options`.
        schedule: when tasks change; a Schedule, or its description, whose period may be left to
            `--task-steps`. None: one environment for the whole run, or a chain played in turn.
        changes: what tasks change: Change values, or their descriptions. The shape and the
            actions may be left to the environment, the number of tasks to the schedule; without
            a seed each member draws its own.
        on_switch: "reset", "latch" or "now"; a chain of several environments takes "reset" alone.
        task_names: a name for each task, for tables.
        options: of all environments.
    """

    name: str
    environments: tuple[Content, ...]
    schedule: Schedule | Content | None = None
    changes: tuple[Change | Content, ...] = ()
    on_switch: OnSwitch = "reset"
    task_names: tuple[str, ...] = ()
    options: Mapping[str, object] | None = None

    def to_dict(self) -> Description:
        """The definition in JSON types."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}

    def build(self, context: StreamContext, options: Mapping[str, object] | None = None) -> Stream:
        """The stream.

        Args:
            context: lanes, members, device, seeds and the length of a task.
            options: of all environments, in place of those of the file.

        Raises:
            ValueError: a value is refused, or things do not fit each other; it names the key.
        """
        shared = {**(self.options or {}), **(options or {})}
        with error_context(self.name, "options"):
            for own in (shared, *(task.get("options", {}) for task in self.environments)):
                context.complete(own)  # refuses names that the builders take
        chain = len(self.environments) > 1
        with error_context(self.name, "schedule"):
            schedule = self._schedules(context)
        with error_context(self.name, "environments"):
            env = self._chain(context, schedule, shared) if chain else self._single(context, shared)
        if chain and not self.changes:
            return env
        changes = []
        for index, change in enumerate(self.changes):
            with error_context(self.name, f"changes[{index}]"):
                changes.append(self._change(change, env, schedule.members[0], context))
        with error_context(self.name, "changes"):
            # A chain has ended all episodes at a switch by itself.
            mode: OnSwitch = "now" if chain else self.on_switch
            return NonStationaryVector(env, schedule, changes, mode, self._names(schedule))

    def _schedules(self, context: StreamContext) -> MemberSchedules:
        """One schedule a member, its switches at the ends of iterations."""
        tasks = len(self.environments)
        given = self.schedule
        if given is None:
            given = {"kind": "Cyclic"} if tasks > 1 else Periodic(TASK_STEPS, tasks=1)
        own = isinstance(given, Mapping) and given.get("kind") == "RandomOrder"
        own = own and "seed" not in given  # type: ignore[operator]
        if isinstance(given, Mapping):
            if tasks > 1 and given.get("tasks", tasks) != tasks:
                raise InputError(
                    f"tasks is {show(given['tasks'])}, but there are {tasks} environments; leave "
                    "tasks out"
                )
            more = {"period": context.period(TASK_STEPS)} | ({"tasks": tasks} if tasks > 1 else {})
            given = Schedule.from_dict(completed(Schedule.kinds, given, more))
        given = given.aligned(context.steps_per_iteration)
        if own and isinstance(given, RandomOrder):
            return MemberSchedules([replace(given, seed=seed) for seed in context.seeds])
        return MemberSchedules(given, context.members)

    def _single(self, context: StreamContext, options: Mapping[str, object]) -> Any:
        task = self.environments[0]
        return context.make(task["id"], **{**options, **task.get("options", {})})

    def _chain(
        self, context: StreamContext, schedule: MemberSchedules, options: Mapping[str, object]
    ) -> TaskSwitch:
        return context.chain(
            [task["id"] for task in self.environments],
            schedule,
            task_names=self._names(schedule),
            task_options=[task.get("options", {}) for task in self.environments],
            **context.complete(options),
        )

    def _names(self, schedule: MemberSchedules) -> list[str]:
        """A name for each task: the file's, the environments', or numbered ones."""
        if self.task_names:
            return list(self.task_names)
        own = [str(task.get("name", task["id"])) for task in self.environments]
        tasks = 1 if schedule.gradual else schedule.members[0].task_count
        if len(own) > 1 or tasks == 1:
            return own
        if tasks is None:
            raise InputError("tasks: say how many tasks there are, such as tasks: 2")
        return [own[0], *(f"{own[0]} task {task}" for task in range(1, tasks))]

    def _change(
        self,
        change: Change | Content,
        env: Any,
        schedule: Schedule,
        context: StreamContext,
    ) -> Change:
        """A change; fields absent from the file come from the environment and the schedule."""
        if isinstance(change, Change):
            return change
        action, seen = env.single_action_space, env.single_observation_space
        hooks = Change.kinds.find(change.get("kind")).hooks
        acts = "action" in hooks and "observation" not in hooks
        more = {
            "shape": list((action if acts else seen).shape),
            "seed": list(context.seeds),
            "tasks": schedule.task_count,
            "actions": int(action.n) if isinstance(action, Discrete) else prod(action.shape),
        }
        given = {key: value for key, value in more.items() if value is not None}
        return Change.from_dict(completed(Change.kinds, change, given))


def read_stream(path: Path | str) -> StreamDefinition | SupervisedDefinition:
    """Read a stream from a file.

    Args:
        path: a YAML file, or a Python file with a function `stream()` that returns a mapping with
            the same keys, in which the schedule and the changes may be objects.

    Returns:
        The definition, its names, ids and kinds checked.

    Raises:
        ValueError: the file is missing or malformed; in one line, naming the key and the remedy.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"stream file {path} is a folder; give a .yaml or .py file in it")
    if not path.is_file():
        raise InputError(f"stream file {path} does not exist; give a .yaml or .py file")
    if path.suffix == ".py":
        content = _run(path)
    elif path.suffix in (".yaml", ".yml"):
        content = read_yaml(path)
    else:
        raise InputError(f"stream file {path} must end in .yaml, .yml or .py")
    return define(content, path.stem, str(path))


def define(
    content: object, name: str, source: str = "stream"
) -> StreamDefinition | SupervisedDefinition:
    """Check a mapping with the keys of a stream file; `data` makes it a supervised one.

    Args:
        content: the mapping.
        name: of the stream, unless the mapping gives one.
        source: where it comes from, for messages.

    Returns:
        The definition.

    Raises:
        ValueError: a key is unknown, missing or of the wrong type; in one line.
    """
    if not isinstance(content, Mapping):
        raise InputError(
            f"{source}: holds {show(content)}; give keys such as environments: and schedule:"
        )
    if "data" in content:
        return define_supervised(content, name, source)
    with error_context(source):
        check_keys(content, KEYS)
        if "environments" not in content:
            raise InputError(
                "environments is missing; name an environment or a list of them, or data: for a "
                "supervised stream"
            )
    with error_context(source, "environments"):
        tasks = _tasks(content["environments"])
    mode = content.get("on_switch", "reset")
    with error_context(source, "on_switch"):
        check_mode(mode)
        if len(tasks) > 1 and mode != "reset":
            raise InputError(f"must be reset for a chain of environments, got {mode!r}")
    with error_context(source, "schedule"):
        schedule = described(content.get("schedule"), Schedule)
    changes = changes_in(content, source)
    return StreamDefinition(
        text(content.get("name", name), source, "name"),
        tasks,
        schedule,
        changes,
        mode,
        texts(content, source, "task_names"),
        options_in(content, source),
    )


def _tasks(content: object) -> tuple[Description, ...]:
    """Environments as mappings with an `id` that exists."""
    items = list(content) if isinstance(content, list | tuple) else [content]
    if not items:
        raise InputError("is empty; name an environment, or a list of them")
    tasks: list[Description] = []
    for item in items:
        task = {"id": item} if isinstance(item, str) else item
        if not isinstance(task, Mapping) or not isinstance(task.get("id"), str):
            raise InputError(f"{show(item)} is no environment; give an id, or a mapping with id:")
        check_keys(task, TASK_KEYS)
        own: Description = (
            {"name": text(task["name"], task["id"], "name")} if "name" in task else {}
        )
        if (options := options_in(task, task["id"])) is not None:
            own["options"] = options
        tasks.append({"id": envs.resolve(task["id"]), **own})
    return tuple(tasks)


def _run(path: Path) -> object:
    found = run_file(path).get("stream")
    if not callable(found):
        raise InputError(f"{path}: has no function stream(); define one that returns a mapping")
    with naming(f"{path}: stream()"):
        return found()
