"""Segmentation: which structure each voxel belongs to, exclusive or overlapping, with unannotated voxels left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from isocenter.augment import SpatialMap
from isocenter.errors import GeometryError, LabelError, PlanError
from isocenter.metrics import Measure, measure_structure
from isocenter.networks import HeadSpec
from isocenter.plan import TaskSpec
from isocenter.records import IGNORE, Case, Flag, LabelMap, LabelSchema, Masks, Prediction
from isocenter.tasks.contract import Calibration, Decoded, Placement, Slab, Targets, task
from isocenter.tasks.losses import build_losses, class_weights, prepare_losses, sum_losses
from isocenter.tasks.options import TaskOptions, read_options
from isocenter.tasks.priors import build_priors
from isocenter.tasks.reducers import BlendReducer
from isocenter.tasks.upsampling import labels_on_target
from isocenter.volume import Grid, Volume, resample, resample_labels

__all__ = ["HEAD", "SITES", "Segmentation", "SegmentationOptions"]

HEAD = "segmentation"
SITES = 5000
"""Voxels of a structure that are remembered for sampling patches."""


class SegmentationOptions(TaskOptions):
    """Options of the task.

    Attributes:
        loss: Losses that are summed, by name: a weight, or options with a ``weight`` among them; see
            `isocenter.tasks.losses`.
        class_weights: Weight of a structure in every loss, by name; 1 where it is not named.
        levels: Supervised resolutions, the finest included.
        priors: What anatomy must look like; see `isocenter.tasks.priors`.
        tolerance_mm: Of the surface Dice.
    """

    loss: dict[str, float | dict[str, Any]] = Field(default={"dice": 1.0, "cross-entropy": 1.0})
    class_weights: dict[str, float] = Field(default_factory=dict)
    priors: tuple[dict[str, Any], ...] = ()
    levels: int = Field(default=3, ge=1)
    tolerance_mm: float = Field(default=2.0, ge=0)


@task("segmentation")
class Segmentation:
    """See `isocenter.tasks.contract.Task`.

    Args:
        spec: Structures, exclusiveness, ignore value; options as in `SegmentationOptions`.
        reference: Image on whose grid the result is given.

    Raises:
        PlanError: No structures, or an option that is not known.
    """

    def __init__(self, spec: TaskSpec, reference: str) -> None:
        if not spec.structures:
            raise PlanError("task.structures: a segmentation needs at least one structure")
        self.spec = spec
        self.reference = reference
        self.schema: LabelSchema = spec.schema_
        self.options = read_options(SegmentationOptions, spec)
        self.losses = build_losses(self.options.loss)
        self._weights = class_weights(self.options.class_weights, self.schema)
        self.priors = build_priors(self.options.priors, self.schema.names)
        if self.priors and not self.schema.exclusive:
            raise PlanError("task.options.priors: are for exclusive structures; these may overlap")

    def heads(self) -> Mapping[str, HeadSpec]:
        """One dense output; background is a channel of its own where structures are exclusive."""
        channels = len(self.schema) + (1 if self.schema.exclusive else 0)
        return {HEAD: HeadSpec("dense", channels, levels=self.options.levels)}

    def encode(self, case: Case, grids: Mapping[str, Grid]) -> Targets:
        """``labels``: uint8 ``(1, D, H, W)`` numbers, or ``(structure, D, H, W)`` of 0 and 1; `IGNORE` unannotated."""
        encoded, grid = self.truth(case)
        return {"labels": torch.from_numpy(resample_labels(encoded, grid, grids[self.reference]))}

    def truth(self, case: Case) -> tuple[NDArray[np.uint8], Grid]:
        """Encoded annotation of a case, on the grid it was drawn on.

        Raises:
            LabelError: The case has no such annotation, or one with undeclared values.
            GeometryError: It does not lie on its image.
        """
        found = case.find(LabelMap, name=self.spec.annotation, image=self.reference)
        masks = case.find(Masks, name=self.spec.annotation, image=self.reference)
        chosen = found or masks
        if chosen is None:
            raise LabelError(f"case {case.id}: has no label map {self.spec.annotation!r}; segmentation learns from one")
        volume = chosen.read()
        if chosen.image is not None and chosen.image in case.images:
            gap = case.images[chosen.image].grid().difference(volume.grid, tolerance_mm=0.1)
            if gap:
                raise GeometryError(
                    f"case {case.id}: label {chosen.source} does not lie on image {chosen.image!r}: {gap}"
                )
        try:
            if isinstance(chosen, LabelMap):
                return self.schema.encode(volume.array[0]), volume.grid
            return self._from_masks(chosen, volume), volume.grid
        except LabelError as error:
            raise LabelError(f"case {case.id}: {error}") from None

    def _from_masks(self, masks: Masks, volume: Volume) -> NDArray[np.uint8]:
        names = masks.schema.names
        order = [names.index(n) if n in names else -1 for n in self.schema.names]
        planes = [volume.array[k] > 0 if k >= 0 else np.zeros(volume.grid.shape, bool) for k in order]
        if not self.schema.exclusive:
            return np.stack(planes).astype(np.uint8)
        out = np.zeros((1, *volume.grid.shape), np.uint8)
        for k, plane in enumerate(planes, start=1):
            if (out[0][plane] > 0).any():
                raise LabelError(
                    f"structure {self.schema.names[k - 1]!r} overlaps another; plan with task.exclusive=false"
                )
            out[0][plane] = k
        return out

    def warp(self, targets: Targets, spatial_map: SpatialMap) -> Targets:
        """Nearest neighbour, so that numbers stay numbers; beyond the image nothing is annotated."""
        labels = spatial_map.sample(targets["labels"], "nearest", outside=IGNORE)
        if spatial_map.mirrored and list(self.schema.mirror_order) != list(range(len(self.schema))):
            labels = self._swap(labels)
        return {"labels": labels}

    def _swap(self, labels: Tensor) -> Tensor:
        order = torch.tensor(self.schema.mirror_order)
        if not self.schema.exclusive:
            return labels[order]
        table = torch.arange(256, dtype=torch.uint8)
        table[1 : len(self.schema) + 1] = (order + 1).to(torch.uint8)
        return table[labels.long()]

    def collate(self, targets: Sequence[Targets]) -> Targets:
        """``labels``: ``(batch, ...)``; and what losses make of them ahead, under ``"loss.<name>"``."""
        labels = torch.stack([t["labels"] for t in targets])
        return {"labels": labels, **prepare_losses(self.losses, labels, self.schema)}

    def sites(self, targets: Targets) -> Mapping[str, NDArray[np.int32]]:
        """At most `SITES` voxels of each structure, evenly drawn from all of them."""
        masks = self.schema.masks(targets["labels"].numpy())
        found = {}
        for name, mask in zip(self.schema.names, masks, strict=True):
            places = np.flatnonzero(mask)
            if len(places):
                kept = places[np.linspace(0, len(places) - 1, min(SITES, len(places))).astype(np.int64)]
                found[name] = np.stack(np.unravel_index(kept, mask.shape), -1).astype(np.int32)
        return found

    def loss(self, outputs: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """The plan's losses by name, halved from one resolution to the next coarser; the score is the mean Dice."""
        levels = [v for k, v in outputs.items() if k == HEAD or k.startswith(f"{HEAD}@")]
        return sum_losses(self.losses, levels, targets, exclusive=self.schema.exclusive, weights=self._weights)

    def reducer(self) -> BlendReducer:
        """Gaussian blending."""
        return BlendReducer(HEAD)

    def decode(self, slabs: Iterator[Slab], placement: Placement, calibration: Calibration | None = None) -> Decoded:
        """Labels on the target grid: logits are interpolated and the largest wins, in one go.

        ``calibration`` changes probabilities, not which of them is largest, so it has no part in labels. Priors repair
        slices before, and what they still find wrong becomes flags.
        """
        repaired = (self._repaired(slab) for slab in slabs) if self.priors else slabs
        labels = labels_on_target(repaired, HEAD, placement, exclusive=self.schema.exclusive)
        volume = Volume(labels, placement.target, "label")
        return Decoded((self.annotation(volume),), flags=self._flags(labels, placement.target))

    def _repaired(self, slab: Slab) -> Slab:
        maps = slab.outputs[HEAD].float().numpy()
        numbers = {name: k for k, name in enumerate(self.schema.names, start=1)}
        planes = []
        for k in range(maps.shape[1]):
            plane = np.ascontiguousarray(maps[:, k])
            for prior in self.priors:
                plane = prior.repair(plane, numbers)
            planes.append(plane)
        return replace(slab, outputs={**slab.outputs, HEAD: torch.from_numpy(np.stack(planes, 1))})

    def _flags(self, labels: NDArray[np.uint8], grid: Grid) -> tuple[Flag, ...]:
        masks = dict(zip(self.schema.names, self.schema.masks(labels), strict=True)) if self.priors else {}
        found = [violation for prior in self.priors for violation in prior.check(masks, grid)]
        return tuple(Flag(f"anatomy-{v.prior}", v.text, "review") for v in found)

    def annotation(self, volume: Volume) -> LabelMap | Masks:
        """Encoded labels as an annotation whose values are numbers 1..K (exclusive) or masks."""
        if self.schema.exclusive:
            numbered = tuple(replace(s, values=(k,)) for k, s in enumerate(self.schema.structures, start=1))
            schema = LabelSchema(numbered)
            return LabelMap(image=self.reference, source="model", schema=schema, read=lambda: volume)
        return Masks(image=self.reference, source="model", schema=self.schema, read=lambda: volume)

    def measure(self, prediction: Prediction, case: Case) -> list[Measure]:
        """Dice, surface and volume figures of every structure, on the grid the truth was drawn on."""
        truth, grid = self.truth(case)
        (found,) = [a for a in prediction.annotations if isinstance(a, LabelMap | Masks)]
        volume = found.read()
        if not volume.grid.is_close(grid):
            volume = resample(volume, grid, interpolation="nearest", fill=0)
        masks = self.schema.masks(volume.array)
        real = self.schema.masks(truth)
        known = (truth != IGNORE).all(0)
        steps = grid.affine[:3, :3]
        square = steps if not np.allclose(steps.T @ steps, np.diag(np.diag(steps.T @ steps)), atol=1e-6) else None
        return [
            measure_structure(
                masks[k], real[k], case=case.id, patient=case.patient, name=name,
                spacing_mm=grid.spacing_mm if square is None else square,
                tolerance_mm=self.options.tolerance_mm, valid=None if known.all() else known,
            )
            for k, name in enumerate(self.schema.names)
        ]  # fmt: skip
