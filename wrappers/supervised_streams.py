"""Supervised streams by name and from a user's file: a data set, a schedule and changes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from neoteny.core.errors import InputError, error_context
from neoteny.core.names import require_known
from neoteny.core.options import fit
from neoteny.core.registry import Registry
from neoteny.envs.datasets import DATASETS, Dataset, load_dataset
from neoteny.wrappers.aliases import Content, Description
from neoteny.wrappers.change_base import Change
from neoteny.wrappers.changes import LabelPermutation
from neoteny.wrappers.file_checks import (
    changes_in,
    check_keys,
    completed,
    described,
    options_in,
    plain,
    text,
)
from neoteny.wrappers.observations import ObservationPermutation
from neoteny.wrappers.schedules import MOST_TASKS, Cyclic, Periodic, Schedule, aligned
from neoteny.wrappers.supervised import RandomLabels, SupervisedStream

KEYS = ("name", "data", "schedule", "changes", "options")
"""Keys of a supervised stream's file."""

FILE_OPTIONS = ("data", "images")
"""Options in such a file."""

OPTIONS = ("data", "images", "tasks", "share")
"""Options of every supervised stream, see `make_supervised`."""

TASK_STEPS = 38_400
"""Samples in a task unless told otherwise: 300 updates of 128."""


Kind = Callable[[Dataset, int, tuple[int, ...]], list[Change]]

KINDS: Registry[Kind] = Registry("kind of supervised stream")
"""Functions from data set, number of tasks and seeds to changes, by what follows the data set in a
stream's name: `digits-random-labels`."""


@KINDS.register("permuted")
def permuted(data: Dataset, tasks: int, seeds: tuple[int, ...]) -> list[Change]:
    """Each task shuffles the pixels in its own way, each pixel keeping its channels.

    Stresses features that must be learnt again from inputs that look alike to no earlier ones,
    while the classes stay what they are.
    """
    return [ObservationPermutation(data.shape, tasks, seeds, over="pixels", keep_first=False)]


@KINDS.register("random-labels")
def random_labels(data: Dataset, tasks: int, seeds: tuple[int, ...]) -> list[Change]:
    """Each task gives every image a random class, which has to be learnt by heart.

    Stresses plasticity alone: nothing learnt before is of use, and no task is harder than another.
    """
    return [RandomLabels(data.classes, seeds)]


@KINDS.register("label-shuffle")
def label_shuffle(data: Dataset, tasks: int, seeds: tuple[int, ...]) -> list[Change]:
    """Each task gives the classes of the images other names.

    Stresses the last layers: features stay useful, what they mean changes.
    """
    return [LabelPermutation(data.classes, tasks, seeds, keep_first=False)]


def supervised() -> list[str]:
    """Names of all supervised streams."""
    return [f"{data}-{kind}" for data in DATASETS for kind in KINDS]


def load_images(source: str, data: str | Path | None = None, images: int | None = None) -> Dataset:
    """A data set, or the beginning of one.

    Args:
        source: name of the data set.
        data: folder of its files, unset `data`.
        images: use only the first so many; unset, 1,200 of the digits and all of other sets.

    Raises:
        ValueError: files are missing, or there are fewer images.
    """
    data = fit("data", data, str | Path | None)
    images = fit("images", images, int | None, "at least 1")
    found = load_dataset(source, data)
    if images is not None or source == "digits":
        found = found.first(1200 if images is None else images)
    return found


def make_supervised(
    name: str,
    seeds: Sequence[int],
    device: torch.device | str = "cpu",
    task_steps: int | None = None,
    steps_per_iteration: int = 1,
    *,
    data: str | Path | None = None,
    images: int | None = None,
    tasks: int = 200,
    share: float = 1.0,
) -> SupervisedStream:
    """Build a supervised stream by name.

    Args:
        name: a data set and what changes, such as `digits-random-labels`; see `supervised`.
        seeds: (M,) one a member.
        device: where tensors live.
        task_steps: samples of one member in a task; unset, 38,400.
        steps_per_iteration: tasks last a whole number of so many samples, rounded up.
        data: folder of the data set's files, unset `data`.
        images: use only the first so many; unset, 1,200 of the digits and all of other sets.
        tasks: number of permutations; then they come again. Random labels never do.
        share: of the random labels that a task replaces: 1 all of them, less a gradual change.

    Raises:
        ValueError: the name is unknown, files are missing, a number does not fit, or there is a
            share below 1 without random labels.
    """
    source, _, kind = name.partition("-")
    if source not in DATASETS or kind not in KINDS:
        raise InputError(
            f"supervised stream {name!r} is unknown: use one of {', '.join(supervised())}"
        )
    tasks = fit("tasks", tasks, int, MOST_TASKS)
    task_steps = fit("task_steps", task_steps, int | None, "at least 1")
    found = load_images(source, data, images)
    schedule = Periodic(aligned(task_steps or TASK_STEPS, steps_per_iteration))
    changes = _replacing(KINDS[kind](found, tasks, tuple(seeds)), share, name)
    return SupervisedStream(found, changes, schedule, seeds, device, name)


def _replacing(changes: list[Change], share: float, name: str) -> list[Change]:
    """The changes, with random labels of which a task replaces a share."""
    share = fit("share", share, float, RandomLabels.limits["share"])
    if share < 1 and not any(isinstance(each, RandomLabels) for each in changes):
        raise InputError(
            f"share is {share}, and {name} has no random labels: leave it out, or use a stream "
            "of random-labels"
        )
    return [
        replace(each, share=share) if isinstance(each, RandomLabels) else each for each in changes
    ]


@dataclass(frozen=True)
class SupervisedDefinition:
    """A supervised stream before it is built: the checked content of a file.

    Args:
        name: of the stream.
        data: name of the data set, such as digits.
        schedule: when tasks change, in samples of one member; a Schedule, or its description,
            whose period may be left to `--task-steps`. None: a new task each period, for ever.
        changes: what tasks change in images and labels; Change values, or their descriptions.
            Shape, classes and number of tasks may be left out; without a seed each member draws
            its own.
        options: `images` to use only the first so many, `data` for the folder of the files.
    """

    name: str
    data: str
    schedule: Schedule | Content | None = None
    changes: tuple[Change | Content, ...] = ()
    options: Mapping[str, object] | None = None

    def to_dict(self) -> Description:
        """The definition in JSON types, with a path that holds in every folder."""
        values = {field.name: plain(getattr(self, field.name)) for field in fields(self)}
        if isinstance(data := (values["options"] or {}).get("data"), str):
            values["options"]["data"] = str(Path(data).absolute())
        return values

    def build(
        self,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        task_steps: int | None = None,
        steps_per_iteration: int = 1,
        **options: Any,
    ) -> SupervisedStream:
        """The stream.

        Args:
            seeds: (M,) one a member.
            device: where tensors live.
            task_steps: samples of one member in a task, for a schedule without a period.
            steps_per_iteration: tasks last a whole number of so many samples, rounded up.
            **options: in place of those of the file.

        Raises:
            ValueError: a value is refused, or things do not fit each other; it names the key.
        """
        with error_context(self.name, "options"):
            images = load_images(self.data, **{**(self.options or {}), **options})
        with error_context(self.name, "schedule"):
            given = self.schedule or {"kind": "Periodic"}
            if isinstance(given, Mapping):
                period = {"period": task_steps or TASK_STEPS}
                given = Schedule.from_dict(completed(Schedule.kinds, given, period))
            schedule = given.aligned(steps_per_iteration)
        more: Description = {
            "shape": list(images.shape),
            "classes": images.classes,
            "seed": list(seeds),
            "tasks": schedule.tasks if isinstance(schedule, Cyclic) else 200,
        }
        changes = []
        for index, change in enumerate(self.changes):
            with error_context(self.name, f"changes[{index}]"):
                if isinstance(change, Mapping):
                    change = Change.from_dict(completed(Change.kinds, change, more))
                changes.append(change)
        with error_context(self.name):
            return SupervisedStream(images, changes, schedule, seeds, device, self.name)


def define_supervised(content: Content, name: str, source: str) -> SupervisedDefinition:
    """Check a mapping with the key `data`; see `neoteny.wrappers.stream_files.define`."""
    with error_context(source):
        check_keys(content, KEYS)
        require_known("data: data set", content["data"], DATASETS)
    with error_context(source, "schedule"):
        schedule = described(content.get("schedule"), Schedule)
    options = options_in(content, source)
    with error_context(source, "options"):
        check_keys(options or {}, FILE_OPTIONS)
    return SupervisedDefinition(
        text(content.get("name", name), source, "name"),
        content["data"],
        schedule,
        changes_in(content, source),
        options,
    )
