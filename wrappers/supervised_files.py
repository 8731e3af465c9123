"""Supervised streams of a user's own: a data set, a schedule and changes, from the same files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from neoteny.core.names import require_known
from neoteny.envs.datasets import DATASETS
from neoteny.wrappers.change import Change
from neoteny.wrappers.file_checks import (
    Naming,
    changes_in,
    check_keys,
    completed,
    described,
    options_in,
    plain,
    text,
)
from neoteny.wrappers.schedule import Cyclic, Schedule
from neoteny.wrappers.supervised import TASK_STEPS, SupervisedStream, load_images

KEYS = ("name", "data", "schedule", "changes", "options")
OPTIONS = ("data", "images")


@dataclass(frozen=True)
class SupervisedDefinition:
    """A supervised stream before it is built: what a file says, checked.

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
    schedule: Schedule | Mapping[str, Any] | None = None
    changes: tuple[Change | Mapping[str, Any], ...] = ()
    options: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The definition in JSON types."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}

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
        with Naming(self.name, "options"):
            images = load_images(self.data, **{**(self.options or {}), **options})
        with Naming(self.name, "schedule"):
            given = self.schedule or {"kind": "Periodic"}
            if isinstance(given, Mapping):
                period = {"period": task_steps or TASK_STEPS}
                given = Schedule.from_dict(completed(Schedule.kinds, given, period))
            schedule = given.aligned(steps_per_iteration)
        more: dict[str, Any] = {
            "shape": list(images.shape),
            "classes": images.classes,
            "seed": list(seeds),
            "tasks": schedule.tasks if isinstance(schedule, Cyclic) else 200,
        }
        changes = []
        for index, change in enumerate(self.changes):
            with Naming(self.name, f"changes[{index}]"):
                if isinstance(change, Mapping):
                    change = Change.from_dict(completed(Change.kinds, change, more))
                changes.append(change)
        with Naming(self.name):
            return SupervisedStream(images, changes, schedule, seeds, device, self.name)


def define_supervised(content: Mapping[str, Any], name: str, source: str) -> SupervisedDefinition:
    """Check a mapping with the key `data`; see `neoteny.wrappers.stream_files.define`."""
    with Naming(source):
        check_keys(content, KEYS)
        require_known("data: data set", content["data"], DATASETS)
    with Naming(source, "schedule"):
        schedule = described(content.get("schedule"), Schedule)
    options = options_in(content, source)
    with Naming(source, "options"):
        check_keys(options or {}, OPTIONS)
    return SupervisedDefinition(
        text(content.get("name", name), source, "name"),
        content["data"],
        schedule,
        changes_in(content, source),
        options,
    )
