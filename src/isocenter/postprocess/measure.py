"""Measurements of a mask: volume, centre, extent, and the intensities under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isocenter.records import GeometryError, LabelError, ValueRangeError

if TYPE_CHECKING:
    from isocenter.records import LabelSchema
    from isocenter.volume import Grid

__all__ = [
    "Intensity",
    "bounding_box",
    "centroid_mm",
    "intensity_under",
    "mask_volume_ml",
    "volumes_ml",
]

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Intensity:
    """Values of an image under a mask, in the image's unit.

    Attributes:
        count: Voxels that counted.
        mean: Arithmetic mean.
        std: Standard deviation of the population.
        minimum: Least value.
        maximum: Greatest value.
        percentiles: Value by percentile, linear between the two nearest ranks.
    """

    count: int
    mean: float
    std: float
    minimum: float
    maximum: float
    percentiles: Mapping[float, float] = field(default_factory=dict)


def mask_volume_ml(mask: Mask, grid: Grid) -> float:
    """Volume of a mask in millilitres: its voxels times the volume of one.

    Raises:
        GeometryError: Mask and grid have different shapes.

    Example:
        >>> from isocenter.volume import Grid
        >>> round(mask_volume_ml(np.ones((2, 10, 10), bool), Grid.regular((2, 10, 10), spacing_mm=(5, 1, 1))), 6)
        1.0
    """
    check_fit(mask, grid)
    return int(np.count_nonzero(mask)) * grid.voxel_volume_ml


def volumes_ml(encoded: NDArray[np.uint8], schema: LabelSchema, grid: Grid) -> dict[str, float]:
    """Volume of each structure in millilitres, 0 where it is empty.

    Args:
        encoded: ``(1, slice, row, column)`` of structure numbers where the schema is exclusive, else
            ``(structure, slice, row, column)`` of 0 and 1.
        schema: What they encode.
        grid: Where the voxels are.

    Raises:
        GeometryError: Labels and grid have different shapes.
        LabelError: The number of channels is not what the schema asks for.
    """
    if len(encoded) != (1 if schema.exclusive else len(schema)):
        raise LabelError(f"encoded labels have {len(encoded)} channels, which does not fit {len(schema)} structures")
    check_fit(encoded[0], grid)
    if schema.exclusive:
        counts = np.bincount(encoded[0].ravel(), minlength=256)[1 : len(schema) + 1]
    else:
        counts = np.array([np.count_nonzero(channel == 1) for channel in encoded])
    return {name: int(n) * grid.voxel_volume_ml for name, n in zip(schema.names, counts, strict=True)}


def bounding_box(mask: Mask) -> tuple[tuple[int, int, int], tuple[int, int, int]] | None:
    """Start (in) and stop (out) index of the smallest box that holds the mask; ``None`` where it is empty.

    Example:
        >>> mask = np.zeros((3, 4, 5), bool)
        >>> mask[1, 2:4, 3] = True
        >>> bounding_box(mask)
        ((1, 2, 3), (2, 4, 4))
    """
    ends = []
    for axis in range(3):
        places = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(places):
            return None
        ends.append((int(places[0]), int(places[-1]) + 1))
    (z0, z1), (y0, y1), (x0, x1) = ends
    return (z0, y0, x0), (z1, y1, x1)


def centroid_mm(mask: Mask, grid: Grid) -> Floats | None:
    """Mean LPS position of the mask's voxels in mm; ``None`` where it is empty.

    Raises:
        GeometryError: Mask and grid have different shapes.
    """
    check_fit(mask, grid)
    count = int(np.count_nonzero(mask))
    if not count:
        return None
    index = []
    for axis, size in enumerate(mask.shape):
        along = np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != axis))
        index.append(float(np.dot(along, np.arange(size))) / count)
    return grid.to_world(index)


def intensity_under(
    image: NDArray[Any], mask: Mask, *, percentiles: Sequence[float] = (5.0, 50.0, 95.0)
) -> Intensity | None:
    """Mean, spread and percentiles of an image under a mask; ``None`` where no finite value lies under it.

    Args:
        image: ``(slice, row, column)``, any unit. Values that are not finite do not count.
        mask: Same shape.
        percentiles: In 0..100.

    Raises:
        GeometryError: Image and mask have different shapes.
        ValueRangeError: A percentile outside 0..100.

    Example:
        >>> values = intensity_under(np.arange(8.0).reshape(2, 2, 2), np.ones((2, 2, 2), bool), percentiles=(50,))
        >>> values.mean, values.percentiles
        (3.5, {50: 3.5})
    """
    if image.shape != mask.shape:
        raise GeometryError(f"image of shape {image.shape} and mask of shape {mask.shape} do not fit each other")
    if any(not 0 <= p <= 100 for p in percentiles):
        raise ValueRangeError(f"percentiles {tuple(percentiles)} must lie in 0..100")
    values = image[mask].astype(np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    ranks: list[float] = np.percentile(values, list(percentiles)).tolist()
    return Intensity(
        count=len(values),
        mean=float(values.mean()),
        std=float(values.std()),
        minimum=float(values.min()),
        maximum=float(values.max()),
        percentiles=dict(zip(percentiles, ranks, strict=True)),
    )


def check_fit(mask: NDArray[Any], grid: Grid) -> None:
    """Raise `GeometryError` unless a mask has the shape of a grid."""
    if mask.shape != grid.shape:
        raise GeometryError(f"mask of shape {mask.shape} does not fit a grid of shape {grid.shape}")
