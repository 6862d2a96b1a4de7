"""The true objects of a case, from boxes, or from the connected parts of label maps and masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isocenter.data import boxes_from_labels
from isocenter.errors import GeometryError, LabelError
from isocenter.records import Boxes, Case, LabelMap, LabelSchema, Masks, Structure
from isocenter.tasks.boxes import instance_boxes, map_boxes
from isocenter.volume import Grid, Volume, resample

__all__ = ["Objects", "find_objects"]

_MOST = np.iinfo(np.int16).max


@dataclass(frozen=True)
class Objects:
    """Objects of a case on one grid.

    Attributes:
        corners: ``(n, 6)``, see `isocenter.records.Boxes`.
        classes: ``(n,)``, position in the plan's structures.
        grid: That the corners count on.
        instances: ``(k, slice, row, column)``, number ``i + 1`` on the voxels of object ``i``; several arrays where
            objects overlap, ``None`` where only boxes are known.
    """

    corners: NDArray[np.float64]
    classes: NDArray[np.int64]
    grid: Grid
    instances: NDArray[np.int16] | None = None

    def on(self, grid: Grid) -> Objects:
        """The same objects on another grid."""
        if grid == self.grid:
            return self
        instances = None
        if self.instances is not None:
            source = Volume(self.instances, self.grid, "label")
            instances = resample(source, grid, interpolation="nearest", fill=0).array
        corners = map_boxes(self.corners, self.grid, grid)
        if instances is not None and _turned(self.grid, grid):
            # the box around a turned box is too large; the one around the turned object is not
            tight, voxels = instance_boxes(instances, len(corners))
            corners = np.where(voxels[:, None] > 0, tight, corners)
        return Objects(corners, self.classes, grid, instances)


def find_objects(case: Case, schema: LabelSchema, *, name: str, reference: str) -> Objects:
    """True objects of a case.

    Args:
        case: With boxes, a label map or masks called ``name``, of which the first found is taken.
        schema: Structures that are looked for; label maps may hold others.
        name: Of the set of annotations.
        reference: Image whose annotation is preferred, and on which one lies that names no image.

    Raises:
        LabelError: No such annotation, or objects that the schema does not declare.
        GeometryError: An annotation that does not lie on its image, or a box without extent.
    """
    boxes = case.find(Boxes, name=name, image=reference)
    if boxes is not None:
        return _from_boxes(boxes, case, schema, reference)
    labels = case.find(LabelMap, name=name, image=reference) or case.find(Masks, name=name, image=reference)
    if labels is None:
        raise LabelError(f"case {case.id}: has no boxes {name!r} and no label map of that name; detection needs either")
    volume = labels.read()
    gap = case.image(labels.image or reference).grid().difference(volume.grid, tolerance_mm=0.1)
    if gap:
        raise GeometryError(f"case {case.id}: label {labels.source} does not lie on its image: {gap}")
    absent = [n for n in schema.names if n not in labels.schema.names]
    if absent:
        known = ", ".join(labels.schema.names)
        raise LabelError(f"case {case.id}: label {labels.source} has no structure {absent[0]!r} (it has: {known})")
    found = _parts(volume, labels, schema)
    if len(found.corners) > _MOST:
        raise LabelError(f"case {case.id}: {len(found.corners)} connected parts, at most {_MOST} are taken as objects")
    return found


def _from_boxes(boxes: Boxes, case: Case, schema: LabelSchema, reference: str) -> Objects:
    unknown = [n for k, n in enumerate(boxes.schema.names) if n not in schema.names and (boxes.classes == k).any()]
    if unknown:
        raise LabelError(
            f"case {case.id}: a box of class {unknown[0]!r} is not declared (declared: {', '.join(schema.names)})"
        )
    corners = np.asarray(boxes.corners, dtype=np.float64).reshape(-1, 6)
    flat = np.flatnonzero((corners[:, 3:] <= corners[:, :3]).any(axis=1))
    if flat.size:
        raise GeometryError(
            f"case {case.id}: box {int(flat[0])} of {boxes.source} has no extent: {corners[flat[0]].tolist()};"
            f" {flat.size} of {len(corners)} are so, remove them"
        )
    table = np.array([schema.names.index(n) if n in schema.names else -1 for n in boxes.schema.names], dtype=np.int64)
    grid = case.image(boxes.image or reference).grid()
    instances = None
    if boxes.instances is not None and len(corners) <= _MOST:
        volume = boxes.instances()
        gap = grid.difference(volume.grid, tolerance_mm=0.1)
        if gap:
            raise GeometryError(f"case {case.id}: instances of {boxes.source} do not lie on their image: {gap}")
        instances = volume.array.astype(np.int16)
    return Objects(corners, table[boxes.classes], grid, instances)


def _parts(volume: Volume, labels: LabelMap | Masks, schema: LabelSchema) -> Objects:
    """Connected parts of label maps; those of masks, which may overlap, structure by structure."""
    if isinstance(labels, LabelMap):
        found = [boxes_from_labels(volume, labels.schema, schema.names)]
    else:
        planes = [volume.array[labels.schema.names.index(name)] > 0 for name in schema.names]
        found = [
            boxes_from_labels(Volume(plane.astype(np.uint8), volume.grid, "label"), LabelSchema((Structure(n, (1,)),)))
            for n, plane in zip(schema.names, planes, strict=True)
        ]
    corners, classes, instances, before = [], [], [], 0
    for k, boxes in enumerate(found):
        corners.append(boxes.corners)
        classes.append(boxes.classes if isinstance(labels, LabelMap) else np.full(len(boxes.classes), k))
        numbers = boxes.instances().array if boxes.instances is not None else np.zeros((1, *volume.grid.shape), int)
        instances.append(np.where(numbers > 0, numbers + before, 0).astype(np.int16))
        before += len(boxes.corners)
    return Objects(np.concatenate(corners), np.concatenate(classes), volume.grid, np.concatenate(instances))


def _turned(source: Grid, target: Grid) -> bool:
    """Axes of one are not parallel to axes of the other."""
    linear = np.abs(target.index_map_to(source)[:3, :3])
    return bool((linear / linear.max() > 1e-4).sum() > 3)
