"""From a prepared sample to a prediction: windows through the network, through the reducer, to the decoder.

Everything is streamed: slabs are decoded while later windows still run, and no array of classes x voxels exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isocenter.errors import ValueRangeError
from isocenter.inference.averaging import ViewMean, channel_orders, check_views
from isocenter.inference.precision import autocast, resolve_precision
from isocenter.inference.views import PlacedView, cut, place_view
from isocenter.inference.windows import plan_windows
from isocenter.pipeline import Model, Pipeline, Sample
from isocenter.plan.learning import ViewSpec
from isocenter.records import Case, Prediction, Provenance
from isocenter.tasks import Calibration, Slab, Window

__all__ = ["Engine", "predict_case"]

Progress = Callable[[int, int], None]


@dataclass
class Engine:
    """Predicts samples with one network.

    Attributes:
        pipeline: Of the model's plan.
        network: In evaluation mode.
        calibration: Handed to the decoder.
        provenance: Written into every prediction.
        device: Where the network runs.
        views: Further looks at each window; those of the plan where ``None``.

    Raises:
        PlanError: Views that the task's outputs cannot be brought back from, such as those of a detection.
    """

    pipeline: Pipeline
    network: nn.Module
    calibration: Calibration | None = None
    provenance: Provenance | None = None
    device: torch.device | str = "cpu"
    views: Sequence[ViewSpec] | None = None

    def __post_init__(self) -> None:
        if self.views is None:
            self.views = self.pipeline.plan.inference.views
        check_views(self.views, self.pipeline.task)

    def predict(self, sample: Sample, progress: Progress | None = None) -> Prediction:
        """Prediction on the case's own grid.

        Args:
            sample: From ``pipeline.prepare``.
            progress: Called with windows done and windows in all; each view of a window counts as one.

        Raises:
            ValueRangeError: The network gave NaN; the window is named.
        """
        self.network.eval()
        with torch.inference_mode():
            decoded = self.pipeline.task.decode(self._slabs(sample, progress), sample.placement, self.calibration)
        return self.pipeline.restore(decoded, sample, self.provenance)

    def _slabs(self, sample: Sample, progress: Progress | None) -> Iterator[Slab]:
        spec = self.pipeline.plan.inference
        windows = plan_windows(sample.shape, spec.window, spec.overlap)
        views = [place_view(view, windows[0].shape, sample.placement.working) for view in self.views or ()]
        looks = 1 + len(views)
        reducer = self.pipeline.task.reducer()
        reducer.begin(sample.shape)
        for first in range(0, len(windows), spec.batch):
            group = windows[first : first + spec.batch]
            outputs = {name: value.cpu() for name, value in self._outputs(sample, group, views).items()}
            for k, window in enumerate(group):
                parts = {name: value[k] for name, value in outputs.items()}
                _check(parts, window, sample)
                yield from reducer.add(parts, window)
            if progress is not None:
                progress((first + len(group)) * looks, len(windows) * looks)
        yield from reducer.end()

    def _outputs(self, sample: Sample, group: Sequence[Window], views: Sequence[PlacedView]) -> Mapping[str, Tensor]:
        """Of a group of windows, the mean over the plain look and the views."""
        plain = self._forward(sample, group)
        if not views:
            return plain
        heads = self.pipeline.task.heads()
        orders = channel_orders(self.pipeline.task) if any(view.mirrored for view in views) else {}
        mean = ViewMean(plain, [name for name, head in heads.items() if head.kind == "dense"], orders)
        for view in views:
            mean.add(self._forward(sample, group, view), view)
        return mean.result()

    def _forward(self, sample: Sample, group: Sequence[Window], view: PlacedView | None = None) -> dict[str, Tensor]:
        margin = (0, 0, 0) if view is None else view.margin
        images = [i.name for i in self.pipeline.plan.images]
        inputs = {name: cut(sample.inputs[name], group, margin).to(self.device) for name in images}
        if view is not None:
            inputs = {name: view.see(image) for name, image in inputs.items()}
        for name in sample.inputs.keys() - inputs.keys():  # numbers of the case belong to each of its windows
            inputs[name] = sample.inputs[name].expand(len(group), -1, -1, -1, -1).to(self.device)
        present = {name: torch.full((len(group),), there, device=self.device) for name, there in sample.present.items()}
        precision = resolve_precision(self.pipeline.plan.inference.precision, self.device)
        with autocast(precision, self.device):
            outputs = self.network(inputs, {} if all(sample.present.values()) else present)
        return {name: value.float() for name, value in outputs.items()}


def predict_case(
    model: Model, case: Case, *, device: torch.device | str = "cpu", progress: Progress | None = None
) -> Prediction:
    """Prepare, predict and restore one case with a loaded model."""
    engine = Engine(model.pipeline, model.network.to(device), model.calibration, model.provenance, device)
    return engine.predict(model.pipeline.prepare(case), progress)


def _check(outputs: dict[str, Tensor], window: Window, sample: Sample) -> None:
    for name, value in outputs.items():
        # a sum is finite only if every term is: one pass instead of a mask
        if not torch.isfinite(value.sum()):
            raise ValueRangeError(
                f"case {sample.case.id}: output {name!r} is not finite in the window at {window.start}"
                f" of size {window.shape}; check the image there, or use inference.precision=fp32"
            )
