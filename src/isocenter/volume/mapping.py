"""How the axes of an output lie to the axes of its source."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from isocenter.volume.grid import Affine

__all__ = ["AxisMap", "aligned_axes", "inside_range", "shrink_factors"]

DRIFT = 1e-5
"""Axes are parallel if they part by less than this fraction of a voxel over the whole output."""
EDGE = 0.5 + 1e-6
"""An image ends half a voxel beyond its outermost centres."""


@dataclass(frozen=True)
class AxisMap:
    """Places along an axis of the source: ``step * index + shift`` for ``count`` indices along output axis ``axis``."""

    axis: int
    count: int
    step: float
    shift: float

    @property
    def places(self) -> NDArray[np.float64]:
        """Fractional source index of every output index."""
        return self.step * np.arange(self.count, dtype=np.float64) + self.shift


def aligned_axes(matrix: Affine, shape: tuple[int, ...]) -> tuple[AxisMap, AxisMap, AxisMap] | None:
    """For each source axis the output axis that runs along it, or ``None`` where the grids are turned or sheared.

    Args:
        matrix: 4x4, from output index to source index.
        shape: Of the output.

    Example:
        >>> flipped = np.array([[0, 0, -2.0, 7], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
        >>> [(a.axis, a.step, a.shift) for a in aligned_axes(flipped, (4, 4, 4))]
        [(2, -2.0, 7.0), (1, 1.0, 0.0), (0, 1.0, 0.0)]
    """
    linear = np.abs(matrix[:3, :3])
    drift = linear * (np.asarray(shape) - 1)  # an output axis of one index goes nowhere
    best = max(permutations(range(3)), key=lambda order: sum(linear[a, b] for a, b in enumerate(order)))
    for order in (best, *permutations(range(3))):
        rest = drift.copy()
        rest[range(3), order] = 0
        if rest.max() < DRIFT:
            z, y, x = (AxisMap(b, int(shape[b]), float(matrix[a, b]), float(matrix[a, 3])) for a, b in enumerate(order))
            return z, y, x
    return None


def shrink_factors(matrix: Affine) -> tuple[float, float, float]:
    """How many source voxels one output step spans along each source axis; 1 where it is not more than 1.01."""
    z, y, x = (float(f) if f > 1.01 else 1.0 for f in np.abs(matrix[:3, :3]).max(axis=1))
    return z, y, x


def inside_range(places: NDArray[np.float64], size: int) -> tuple[int, int]:
    """First (in) and last (out) of a run of places that lie in a source of ``size`` voxels along an axis.

    Example:
        >>> inside_range(np.array([-1.0, -0.5, 1.0, 3.0]), 2)
        (1, 3)
    """
    hit = np.flatnonzero((places >= -EDGE) & (places <= size - 1 + EDGE))
    return (int(hit[0]), int(hit[-1]) + 1) if len(hit) else (0, 0)
