"""The one path from a case to tensors and from decoded outputs to a prediction.

Training, validation, evaluation, prediction and export all use the same `Pipeline`, built from the plan alone, so none
of them can drift from another.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from isocenter.errors import DatasetError, GeometryError, IsocenterError, PlanError
from isocenter.pipeline.cleaning import clean
from isocenter.pipeline.measuring import measure_case, standardise
from isocenter.pipeline.sample import Sample
from isocenter.plan import InputSpec, IntensitySpec, Plan
from isocenter.preprocess import check_values, normalise, to_working, working_grid
from isocenter.records import Annotation, Boxes, Case, Flag, LabelMap, Masks, Prediction, Provenance
from isocenter.tasks import Decoded, Placement, Task, build_task
from isocenter.volume import Grid, Volume

__all__ = ["Pipeline"]


class Pipeline:
    """What a plan does to a case before and after the network.

    Args:
        plan: Every decision.

    Raises:
        PlanError: The plan asks for a task that does not exist or that its values do not fit.

    Example:
        >>> from isocenter.records import ImageRef
        >>> plan = Plan.model_validate({
        ...     "inputs": [{"name": "ct"}],
        ...     "preprocess": {"reference": "ct", "orientation": "SPL", "spacing_mm": (0, 2, 2)},
        ...     "task": {"structures": [{"name": "liver", "values": [1]}]},
        ... })
        >>> feet_first = Grid.regular((4, 8, 8), spacing_mm=(5, 1, 1)).flip([0])
        >>> image = Volume(np.arange(256.0).reshape(4, 8, 8), feet_first, "HU")
        >>> ref = ImageRef("ct", "memory", lambda region, level: image, lambda: image.grid)
        >>> sample = Pipeline(plan).prepare(Case("a", "p", {"ct": ref}))
        >>> sample.shape, sample.placement.working.orientation
        ((4, 4, 4), 'SPL')
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.task: Task = build_task(plan.task, plan.preprocess.reference)

    def prepare(self, case: Case, *, targets: bool = False) -> Sample:
        """Tensors of a case on the working grid; deterministic.

        Args:
            case: With the images that the plan requires.
            targets: Also encode the truth.

        Raises:
            DatasetError: A required image is missing.
            IsocenterError: An image or annotation cannot be used; the message names the case.
        """
        spec = self.plan.preprocess
        try:
            reference = case.image(spec.reference).read()
            stored = reference.grid
            grid = working_grid(stored, spec)
            inputs: dict[str, Tensor] = {}
            present: dict[str, bool] = {}
            for needed in self.plan.inputs:
                if needed.kind == "vector":
                    present[needed.name], inputs[needed.name] = True, self._measured(case)
                    continue
                present[needed.name] = needed.name in case.images
                volume = reference if needed.name == spec.reference else None
                inputs[needed.name] = self._input(case, needed, grid, volume)
            grids = {i.name: grid for i in self.plan.images}
            truth = self.task.encode(case, grids) if targets else {}
        except IsocenterError as error:
            text, where = str(error), f"case {case.id}: "
            raise type(error)(text if text.startswith(where) else where + text) from error
        turned = stored.reorient(spec.orientation) if spec.orientation else stored
        return Sample(case, inputs, present, grids, stored, Placement(grid, turned), truth)

    def _measured(self, case: Case) -> Tensor:
        """``(feature, 1, 1, 1)``."""
        spec = self.plan.measured
        if spec is None:  # the plan has been seen to have one
            raise PlanError("inputs: a vector needs `measured`")
        values = standardise(measure_case(case, spec, self.plan.preprocess.reference), spec)
        return torch.from_numpy(values).view(-1, 1, 1, 1)

    def _input(self, case: Case, needed: InputSpec, grid: Grid, volume: Volume | None) -> Tensor:
        if needed.name not in case.images:
            if needed.required:
                have = ", ".join(case.images) or "none"
                raise DatasetError(
                    f"case {case.id}: image {needed.name!r} is missing, the model needs it (found: {have})"
                )
            return torch.zeros((needed.channels, *grid.shape))
        volume = volume or case.image(needed.name).read()
        check_values(volume.array, f"case {case.id}: image {needed.name!r}")
        if len(volume.array) != needed.channels:
            raise DatasetError(
                f"case {case.id}: image {needed.name!r} has {len(volume.array)} channels,"
                f" the model needs {needed.channels}"
            )
        working = to_working(volume, grid, self.plan.preprocess)
        scheme = self.plan.preprocess.intensity.get(needed.name, IntensitySpec())
        return torch.from_numpy(np.ascontiguousarray(normalise(working.array, scheme)))

    def restore(self, decoded: Decoded, sample: Sample, provenance: Provenance | None = None) -> Prediction:
        """Result on the reference image's own grid, cleaned as the plan says.

        Args:
            decoded: What the task read from the outputs, on ``sample.placement.target``.
            sample: The prepared case.
            provenance: Of the model that predicted.

        Raises:
            GeometryError: The task decoded onto another grid.
        """
        annotations = tuple(self._place(a, sample) for a in decoded.annotations)
        maps = {name: self._turn_back(volume, sample) for name, volume in decoded.maps.items()}
        flags = self._image_notes(sample.case) + decoded.flags
        flags += tuple(f for a in annotations for f in _empty_structures(a))
        return Prediction(sample.case, annotations, maps, flags, provenance)

    def _image_notes(self, case: Case) -> tuple[Flag, ...]:
        """What the images that were used say of themselves."""
        used = [case.images[i.name] for i in self.plan.images if i.name in case.images]
        return tuple(Flag("image-note", f"{image.name}: {note}") for image in used for note in image.notes())

    def _place(self, annotation: Annotation, sample: Sample) -> Annotation:
        if isinstance(annotation, LabelMap | Masks):
            stored = self._turn_back(annotation.read(), sample)
            return clean(replace(annotation, read=lambda: stored), self.plan.inference)
        if isinstance(annotation, Boxes):
            target = sample.placement.target
            edges = target.to_world(annotation.corners.reshape(-1, 2, 3))
            stored_edges = sample.reference.to_index(edges)
            corners = np.concatenate([stored_edges.min(1), stored_edges.max(1)], axis=1).reshape(-1, 6)
            return replace(annotation, corners=corners)
        return annotation

    def _turn_back(self, volume: Volume, sample: Sample) -> Volume:
        """Axes as the reference image stores them; an exact permutation and flip, no interpolation."""
        wanted = self.plan.preprocess.orientation
        # the turn that `prepare` made, not one guessed from the result: letters of oblique axes may be a close call
        order, flips = sample.reference.axes_to(wanted) if wanted else ((0, 1, 2), ())
        back = volume.flip(flips).permute([order.index(a) for a in range(3)])
        gap = back.grid.difference(sample.reference)
        if gap:
            raise GeometryError(f"case {sample.case.id}: the task decoded onto another grid than the image's: {gap}")
        return Volume(np.ascontiguousarray(back.array), sample.reference, volume.unit)


def _empty_structures(annotation: Annotation) -> tuple[Flag, ...]:
    if not isinstance(annotation, LabelMap | Masks):
        return ()
    array = annotation.read().array
    there = set(np.unique(array).tolist()) if isinstance(annotation, LabelMap) else set()
    empty = []
    for k, structure in enumerate(annotation.schema.structures):
        found = bool(there & set(structure.values)) if isinstance(annotation, LabelMap) else bool(array[k].any())
        if not found:
            empty.append(Flag("structure-empty", f"{structure.name}: nothing was found", "note"))
    return tuple(empty)
