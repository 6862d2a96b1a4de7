"""Spatial maps drawn at random, and plain cuts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isocenter.augment.elastic import draw_elastic
from isocenter.augment.spatial import SpatialMap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from isocenter.plan import AugmentationSpec

__all__ = ["draw_map", "identity_map"]


def identity_map(*, centre: Sequence[float], shape: tuple[int, int, int]) -> SpatialMap:
    """Plain cut of ``shape`` whose middle voxel ``(shape - 1) // 2`` is the source voxel ``centre``."""
    matrix = np.eye(4)
    matrix[:3, 3] = np.round(np.asarray(centre, dtype=np.float64)) - (np.asarray(shape) - 1) // 2
    return SpatialMap(matrix, shape)


def draw_map(
    rng: np.random.Generator,
    spec: AugmentationSpec,
    *,
    centre: Sequence[float],
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    lateral_axis: int | None = None,
) -> SpatialMap:
    """Random rotation, scale, mirroring and elastic deformation about ``centre``.

    Rotations turn millimetres, not voxels, so that anisotropic grids are not sheared; displacements are in millimetres
    of the patch, before it is scaled.

    Args:
        rng: Keyed generator of this patch.
        spec: Ranges.
        centre: Voxel of the source in the middle of the patch.
        shape: Of the patch.
        spacing_mm: Of the source.
        lateral_axis: Index axis that runs from left to right; mirroring along it swaps left and right. With ``None``
            any mirrored axis swaps them, since one reflection turns every body into its mirror image.
    """
    active = rng.random() < spec.spatial_probability
    angles = np.radians([rng.uniform(-a, a) if active and a else 0.0 for a in spec.rotation_deg])
    scale = rng.uniform(1 - spec.scale, 1 + spec.scale) if active and spec.scale else 1.0
    flips = np.array([-1.0 if a in spec.mirror and rng.random() < 0.5 else 1.0 for a in range(3)])
    spacing = np.asarray(spacing_mm)
    turn = _rotation(angles)
    linear = (turn * spacing[None, :] / spacing[:, None]) @ np.diag(flips) / scale
    middle = (np.asarray(shape) - 1) // 2
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    place = np.asarray(centre, dtype=np.float64)
    if not active:
        place = np.round(place)
    matrix[:3, 3] = place - linear @ middle
    if shape[0] == 1 and not (angles[1] or angles[2]):
        matrix[0, 3] = np.round(place[0])
    flipped = flips < 0
    mirrored = bool(flipped[lateral_axis]) if lateral_axis is not None else bool(flipped.sum() % 2)
    elastic = draw_elastic(rng, spec, shape=shape, spacing_mm=spacing_mm) if active else None
    return SpatialMap(matrix, shape, mirrored, elastic)


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        if angle:
            c, s = np.cos(angle), np.sin(angle)
            a, b = (axis + 1) % 3, (axis + 2) % 3
            step = np.eye(3)
            step[a, a], step[a, b], step[b, a], step[b, b] = c, -s, s, c
            turn = turn @ step
    return turn
