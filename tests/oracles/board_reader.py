"""TensorBoard's own backend and its smoothing, as oracles of what it shows."""

import json
from collections.abc import Iterable
from pathlib import Path

from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.data.provider import RunTagFilter
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
from tensorboard.plugins.hparams import api_pb2, get_experiment, list_session_groups
from tensorboard.plugins.hparams.backend_context import Context


class Reader:
    """TensorBoard's backend on a folder."""

    def __init__(self, folder: Path) -> None:
        self.multiplexer = EventMultiplexer()
        self.multiplexer.AddRunsFromDirectory(str(folder))
        self.multiplexer.Reload()
        self.provider = MultiplexerDataProvider(self.multiplexer, str(folder))
        self.context = TBContext(
            data_provider=self.provider, multiplexer=self.multiplexer, logdir=str(folder)
        )
        self.asked = {"experiment_id": ""}

    def scalars(self, run: str, tag: str) -> list[tuple[int, float]]:
        only = RunTagFilter(runs=[run], tags=[tag])
        found = self.provider.read_scalars(
            RequestContext(),
            **self.asked,
            plugin_name="scalars",
            downsample=1000,
            run_tag_filter=only,
        )
        return [(point.step, point.value) for point in found[run][tag]]

    def tags(self, run: str) -> list[str]:
        found = self.provider.list_scalars(RequestContext(), **self.asked, plugin_name="scalars")
        return sorted(found[run])

    def tensors(self, run: str, plugin: str) -> dict[str, list]:
        found = self.provider.read_tensors(
            RequestContext(), **self.asked, plugin_name=plugin, downsample=100
        )
        return {tag: [(p.step, p.numpy) for p in points] for tag, points in found[run].items()}

    def charts(self) -> dict[str, dict[str, dict]]:
        """Custom Scalars: title of a category to title of a chart to its content."""
        layout = json.loads(CustomScalarsPlugin(self.context).layout_impl(RequestContext(), ""))
        return {
            category["title"]: {chart["title"]: chart for chart in category["chart"]}
            for category in layout["category"]
        }

    def trials(self) -> tuple[api_pb2.Experiment, list[api_pb2.SessionGroup]]:
        """HParams: what is listed, and a group for each setting."""
        context = Context(self.context)
        experiment = get_experiment.Handler(
            RequestContext(), context, "", api_pb2.GetExperimentRequest(include_metrics=True)
        ).run()
        columns = [api_pb2.ColParams(metric=metric.name) for metric in experiment.metric_infos]
        request = api_pb2.ListSessionGroupsRequest(
            start_index=0,
            slice_size=100,
            allowed_statuses=[api_pb2.STATUS_UNKNOWN],
            aggregation_type=api_pb2.AGGREGATION_AVG,
            col_params=columns,
            include_metrics=True,
        )
        groups = list_session_groups.Handler(RequestContext(), context, "", request).run()
        return experiment, list(groups.session_groups)


def smoothed(points: Iterable[tuple[int, float]], weight: float = 0.6) -> dict[int, float]:
    """TensorBoard's smoothing (its line chart's `classicSmoothing`): an average over points."""
    last, found = 0.0, {}
    for count, (step, value) in enumerate(points, start=1):
        last = last * weight + (1 - weight) * value
        found[step] = last / (1 - weight**count)
    return found
