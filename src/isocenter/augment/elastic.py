"""Smooth random displacement of a patch's voxels: a cubic B-spline over a coarse grid of control points.

The spline is twice continuously differentiable. While no control point moves by more than 0.4 of their spacing along
any axis, the displacements of two points differ by less than the points do: the map has an inverse, and nothing folds.
(Choi and Lee 2000, "Injectivity conditions of 2D and 3D uniform cubic B-spline functions": 1 / 2.48 of the spacing.)
`isocenter.plan.AugmentationSpec` accepts no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from isocenter.plan import AugmentationSpec

__all__ = ["Elastic", "draw_elastic"]


@dataclass(frozen=True, eq=False)
class Elastic:
    """Displacement of the voxels of a patch.

    Attributes:
        control: ``(3, a, b, c)``, at least four along each axis: displacement of the control points along slice, row
            and column, in voxels of the patch.
        spacing: Voxels of the patch from one control point to the next (slice, row, column).
        shape: Of the patch; the grid of control points has the same middle.

    Example:
        >>> shift = Elastic(np.full((3, 4, 4, 4), 0.5), (8, 8, 8), (5, 5, 5))
        >>> shift.displacement(np.array([[0.0, 2.0, 4.0]])).tolist()
        [[0.5, 0.5, 0.5]]
    """

    control: NDArray[np.float64]
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]

    def displacement(self, indices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Displacement ``(n, 3)`` at patch indices ``(n, 3)``, in voxels; beyond the patch that of its border."""
        from isocenter.augment.spline import displace

        out = np.empty((len(indices), 3))
        displace(np.ascontiguousarray(indices, np.float64), self.control, self.spacing, self.shape, out)
        return out

    def origin(self, indices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Patch indices ``(n, 3)`` whose displaced places are ``indices``: the inverse, to a millionth of a voxel.

        Fixed-point iteration, which converges from anywhere since the displacement is a contraction.
        """
        from isocenter.augment.spline import undo

        out = np.empty((len(indices), 3))
        undo(np.ascontiguousarray(indices, np.float64), self.control, self.spacing, self.shape, out)
        return out

    def taps(self, axis: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """For the voxels along an axis: first ``(n,)`` of the four control points that move it, weights ``(n, 4)``."""
        count, size, spacing = self.control.shape[1 + axis], self.shape[axis], self.spacing[axis]
        at = np.arange(size) / spacing + ((count - 1) - (size - 1) / spacing) / 2
        first = np.clip(np.floor(at).astype(np.int64) - 1, 0, count - 4)
        t = at - first - 1
        u = 1 - t
        weights = [u**3, 3 * t**3 - 6 * t**2 + 4, 3 * u**3 - 6 * u**2 + 4, t**3]
        return first, np.stack(weights, -1) / 6


def draw_elastic(
    rng: np.random.Generator,
    spec: AugmentationSpec,
    *,
    shape: tuple[int, int, int],
    spacing_mm: Sequence[float],
) -> Elastic | None:
    """Random displacement of a patch; ``None`` where ``spec`` asks for none.

    Each control point moves uniformly within ``spec.elastic_mm``. A patch of one slice is moved in its plane only.

    Args:
        rng: Keyed generator of this patch.
        spec: Ranges.
        shape: Of the patch.
        spacing_mm: Of its voxels.
    """
    voxels = np.asarray(spacing_mm, dtype=np.float64)
    largest = np.asarray(spec.elastic_mm) / voxels
    if shape[0] == 1:
        largest[0] = 0
    if not largest.any():
        return None
    # control points closer than voxels would move each voxel by itself
    a, b, c = (float(s) for s in np.maximum(spec.elastic_grid_mm / voxels, 1.0))
    counts = [int(np.ceil((n - 1) / s - 1e-9)) + 3 if n > 1 else 1 for n, s in zip(shape, (a, b, c), strict=True)]
    control = rng.uniform(-1.0, 1.0, (3, *counts)) * largest[:, None, None, None]
    for axis, n in enumerate(counts, start=1):
        control = np.repeat(control, 4, axis) if n == 1 else control
    return Elastic(control, (a, b, c), shape)
