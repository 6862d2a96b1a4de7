"""Diameters of a mask in the axial plane, as a radiologist takes them with callipers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isocenter.postprocess.measure import bounding_box, check_fit

if TYPE_CHECKING:
    from isocenter.volume import Grid

__all__ = ["Axes", "axial_axes"]

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Axes:
    """The longest diameter in an axial plane, and the width across it.

    Attributes:
        long_mm: Largest distance between two points of the outline, over all planes.
        short_mm: Width of the same plane's outline at right angles to it.
        ends_mm: LPS positions of the two ends of the long axis, ``(2, 3)``.
    """

    long_mm: float
    short_mm: float
    ends_mm: Floats


def axial_axes(mask: Mask, grid: Grid) -> Axes | None:
    """Long and short axis in the plane of the image that is nearest to axial; ``None`` where the mask is empty.

    The outline runs half-way between a voxel inside and its neighbour outside, as in `skimage.measure.regionprops`
    (``feret_diameter_max``) and pyradiomics (``Maximum2DDiameterSlice``). The long axis is the largest diameter over
    all planes, as RECIST 1.1 (Eisenhauer et al., Eur J Cancer 2009) takes it; the short axis is the width of that
    plane's outline at right angles to it.

    Args:
        mask: ``(slice, row, column)``.
        grid: Where the voxels are. The planes are those of its two index axes that lie nearest to the patient's
            left-right and front-back.

    Raises:
        GeometryError: Mask and grid have different shapes.

    Example:
        >>> from isocenter.volume import Grid
        >>> axes = axial_axes(np.ones((1, 3, 8), bool), Grid.regular((1, 3, 8), spacing_mm=(5, 2, 1)))
        >>> round(axes.short_mm, 1) <= round(axes.long_mm, 1)
        True
    """
    check_fit(mask, grid)
    box = bounding_box(mask)
    if box is None:
        return None
    normal = next(axis for axis, letter in enumerate(grid.orientation) if letter in "SI")
    rest = [axis for axis in range(3) if axis != normal]
    steps = grid.affine[:3, rest]  # mm along the two index axes in the plane
    flat = np.linalg.qr(steps)[0].T @ steps  # in-plane index -> mm in the plane
    start = np.asarray(box[0])
    inner = mask[tuple(slice(a, b) for a, b in zip(*box, strict=True))]
    long_mm, short_mm, at, ends = _longest(np.moveaxis(inner, normal, 0), flat)
    index = np.empty((2, 3))
    index[:, rest] = np.linalg.solve(flat, ends.T).T + start[rest]
    index[:, normal] = at + start[normal]
    return Axes(long_mm, short_mm, grid.to_world(index))


def _longest(planes: Mask, flat: Floats) -> tuple[float, float, int, Floats]:
    """Long axis, width across it, number of the plane, and the two ends, over all planes."""
    best = (0.0, 0.0, 0, np.zeros((2, 2)))
    for at in _by_reach(planes, flat):
        outline = _outline(planes[at]) @ flat.T
        if np.linalg.norm(np.ptp(outline, axis=0)) > best[0]:  # else it cannot hold a longer one
            long_mm, short_mm, ends = _diameters(outline)
            best = max(best, (long_mm, short_mm, at, ends), key=lambda found: found[0])
    return best


def _by_reach(planes: Mask, flat: Floats) -> list[int]:
    """Planes that hold something, those whose bounding rectangle is largest first: the rest is seldom looked at."""
    reach = {}
    for at, plane in enumerate(planes):
        rows, columns = (np.flatnonzero(plane.any(axis=1 - axis)) for axis in (0, 1))
        if len(rows):
            reach[at] = float(np.abs(flat @ np.array([np.ptp(rows) + 1, np.ptp(columns) + 1])).sum())
    return sorted(reach, key=lambda at: (-reach[at], at))


def _outline(plane: Mask) -> Floats:
    """Points half a voxel outside the first and last voxel of each row and column, as (row, column)."""
    points = []
    for axis in (0, 1):
        lines = np.flatnonzero(plane.any(axis=1 - axis))
        across = plane[lines] if axis == 0 else plane[:, lines].T
        first = np.argmax(across, axis=1) - 0.5
        last = across.shape[1] - 1 - np.argmax(across[:, ::-1], axis=1) + 0.5
        for edge in (first, last):
            pair = (lines, edge) if axis == 0 else (edge, lines)
            points.append(np.column_stack(pair).astype(np.float64))
    return np.concatenate(points)


def _diameters(points: Floats) -> tuple[float, float, Floats]:
    """Largest distance between two points, width of all points across it, and the two ends."""
    from scipy.spatial import ConvexHull

    hull = points[ConvexHull(points).vertices]
    gaps = np.linalg.norm(hull[:, None] - hull[None], axis=-1)
    a, b = np.unravel_index(int(np.argmax(gaps)), gaps.shape)
    along = (hull[b] - hull[a]) / gaps[a, b]
    across = hull @ np.array([-along[1], along[0]])
    return float(gaps[a, b]), float(np.ptp(across)), hull[[a, b]]
