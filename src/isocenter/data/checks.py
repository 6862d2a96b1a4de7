"""What is wrong with a case: cheaply from headers, or thoroughly by reading it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import GeometryError, IsocenterError, LabelError, ValueRangeError
from isocenter.records import Boxes, Case, LabelMap, LabelSchema, Masks
from isocenter.volume import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CaseReport", "check_case", "check_geometry", "examine_case"]


@dataclass(frozen=True)
class CaseReport:
    """What reading a whole case found.

    Attributes:
        case: Its id.
        errors: Everything that is wrong, images first.
        ranges: Lowest and highest value of each image, in its unit.
        volumes_ml: Volume of each structure of the set asked for.
    """

    case: str
    errors: tuple[IsocenterError, ...] = ()
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    volumes_ml: Mapping[str, float] = field(default_factory=dict)


def check_geometry(case: Case) -> None:
    """Compare images with the labels and boxes on them, reading headers alone.

    A label map is compared where its ``read`` has a ``grid()`` too, as those of the built-in layouts have.

    Raises:
        IsocenterError: An image or label cannot be opened, a label lies on another grid than its image, or a box
            reaches out of its image. The message names the case.
    """
    grids = {name: ref.grid() for name, ref in case.images.items()}
    for annotation in case.annotations:
        grid = grids.get(annotation.image or "")
        if isinstance(annotation, LabelMap | Masks) and hasattr(annotation.read, "grid"):
            _compare(case, annotation, grid, annotation.read.grid())
        elif isinstance(annotation, Boxes) and grid is not None and len(annotation.corners):
            low, high = annotation.corners[:, :3].min(0), annotation.corners[:, 3:].max(0)
            if (low < -0.5).any() or (high > np.asarray(grid.shape) - 0.5).any():
                raise GeometryError(
                    f"case {case.id}: boxes of {annotation.source} reach from {low.tolist()} to {high.tolist()},"
                    f" out of image '{annotation.image}' of shape {grid.shape}"
                )


def _compare(case: Case, annotation: LabelMap | Masks, image: Grid | None, label: Grid) -> None:
    difference = image.difference(label) if image is not None else None
    if difference is not None:
        raise GeometryError(
            f"case {case.id}: image '{annotation.image}' and label '{annotation.name}' ({annotation.source}) differ:"
            f" {difference}; resample the label to its image or mend its header"
        )


def examine_case(case: Case, schema: LabelSchema | None = None, *, name: str = "main") -> CaseReport:
    """Read every image of a case, and its label maps and masks of set ``name``, and say all that is wrong.

    Args:
        case: Read whole, one image at a time.
        schema: What the labels must keep to; their own where ``None``.
        name: Set of annotations.
    """
    errors: list[IsocenterError] = []
    ranges: dict[str, tuple[float, float]] = {}
    volumes: dict[str, float] = {}
    try:
        check_geometry(case)
    except IsocenterError as error:
        errors.append(error)
    for image in case.images:
        try:
            ranges[image] = _image_range(case, image)
        except IsocenterError as error:
            errors.append(error)
    for annotation in case.annotations:
        if isinstance(annotation, LabelMap | Masks) and annotation.name == name:
            try:
                found = _label_volumes(case, annotation, schema or annotation.schema)
                volumes = {**found, **volumes}
            except IsocenterError as error:
                errors.append(error)
    return CaseReport(case.id, tuple(_named(case, error) for error in errors), ranges, volumes)


def check_case(case: Case, schema: LabelSchema | None = None, *, name: str = "main") -> None:
    """Read a whole case and refuse it where anything is wrong.

    Raises:
        GeometryError: Image and label differ in geometry.
        LabelError: A label value that the schema does not declare.
        ValueRangeError: An image with NaN or infinite values, or with one value only.
        FileFormatError: A file that is damaged.
    """
    report = examine_case(case, schema, name=name)
    if report.errors:
        raise report.errors[0]


def _named(case: Case, error: IsocenterError) -> IsocenterError:
    """The error with the case in front; what reads files knows only the file."""
    text = str(error)
    return error if text.startswith(f"case {case.id}:") else type(error)(f"case {case.id}: {text}")


def _image_range(case: Case, name: str) -> tuple[float, float]:
    ref = case.image(name)
    array = ref.read().array
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        count = int((~np.isfinite(array)).sum())
        raise ValueRangeError(f"case {case.id}: image '{name}' has {count} NaN or infinite voxels ({ref.source})")
    if low == high:
        raise ValueRangeError(f"case {case.id}: image '{name}' is {low:g} everywhere ({ref.source})")
    return low, high


def _label_volumes(case: Case, annotation: LabelMap | Masks, schema: LabelSchema) -> dict[str, float]:
    volume = annotation.read()
    ml = volume.grid.voxel_volume_ml
    if isinstance(annotation, Masks):
        return {n: float(m.sum()) * ml for n, m in zip(annotation.schema.names, volume.array, strict=True)}
    counts = _value_counts(volume.array)
    unknown = sorted(set(counts) - schema.values - {0, schema.ignore})
    if unknown:
        declared = ", ".join(map(str, [0, *sorted(schema.values)]))
        raise LabelError(
            f"case {case.id}: label value {unknown[0]} is not declared (declared: {declared});"
            f" mend {annotation.source} or the schema"
        )
    return {s.name: float(sum(counts.get(v, 0) for v in s.values)) * ml for s in schema.structures}


def _value_counts(array: NDArray[Any]) -> dict[int, int]:
    values, counts = np.unique(array, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts, strict=True)}
