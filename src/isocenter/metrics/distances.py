"""Distances between the surfaces of two masks, in millimetres.

Conventions. The surface of a mask is the set of centres of its *border voxels*: voxels of the mask that share a face
with a voxel outside. What lies beyond the image counts as outside. An axis with a single slice has no neighbours and
is left out, so a 2-D image (one slice) has a contour, not a sheet; in an image of several slices, an object one slice
thick is a sheet whose voxels all face the outside, and all of them are border. Every border voxel counts once,
whatever its area (as in MONAI and Metrics Reloaded; DeepMind's ``surface-distance`` weighs by area instead).

Empty masks: both empty, distances are 0 and the normalised surface distance is 1; one empty (missed or false), every
distance is the penalty, by default the diagonal of the image in mm, which no true distance can exceed, and the
normalised surface distance is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isocenter.errors import ConfigError
from isocenter.metrics._check import Mask, Spacing, as_mask, as_masks, index_steps

__all__ = ["SurfaceDistances", "border", "diagonal_mm", "surface_distances"]

_SLACK_MM = 1e-6  # three steps of 0.7 mm are 2.0999999999999996 mm; a tolerance of 2.1 mm must include them


@dataclass(frozen=True)
class SurfaceDistances:
    """Both directed sets of nearest distances, found once and read by several measures.

    Attributes:
        to_truth_mm: For each border voxel of the prediction, the distance to the nearest one of the truth.
        to_prediction_mm: For each border voxel of the truth, the distance to the nearest one of the prediction.
        penalty_mm: Distance that stands for a missed or false structure.

    If exactly one mask is empty, both sets are empty and ``penalised`` is true.

    Example:
        >>> found = surface_distances([0, 1, 1, 0, 0, 0], [0, 1, 1, 1, 1, 0], spacing_mm=(2.0,))
        >>> found.to_truth_mm.tolist(), found.to_prediction_mm.tolist()
        ([0.0, 2.0], [0.0, 4.0])
        >>> found.percentile_mm(100), found.mean_mm(), found.within(2.0)
        (4.0, 1.5, 0.75)
    """

    to_truth_mm: NDArray[np.float64]
    to_prediction_mm: NDArray[np.float64]
    penalty_mm: float
    penalised: bool = False

    def percentile_mm(self, percentile: float = 95.0) -> float:
        """The larger of the two directed percentiles (100: the Hausdorff distance)."""
        if not 0 <= percentile <= 100:
            raise ConfigError(f"percentile {percentile} is outside 0..100")
        if self.penalised:
            return self.penalty_mm
        sets = (self.to_truth_mm, self.to_prediction_mm)
        return max((float(np.percentile(d, percentile)) for d in sets if d.size), default=0.0)

    def mean_mm(self) -> float:
        """Mean of the distances of both directions together."""
        if self.penalised:
            return self.penalty_mm
        count = self.to_truth_mm.size + self.to_prediction_mm.size
        return float(self.to_truth_mm.sum() + self.to_prediction_mm.sum()) / count if count else 0.0

    def within(self, tolerance_mm: float) -> float:
        """Share of both surfaces that lies within the tolerance of the other one, 0..1."""
        if not (np.isfinite(tolerance_mm) and tolerance_mm >= 0):
            raise ConfigError(f"tolerance {tolerance_mm} mm is not finite and at least 0")
        if self.penalised:
            return 0.0
        limit = tolerance_mm + _SLACK_MM
        good = np.count_nonzero(self.to_truth_mm <= limit) + np.count_nonzero(self.to_prediction_mm <= limit)
        count = self.to_truth_mm.size + self.to_prediction_mm.size
        return int(good) / count if count else 1.0


def border(mask: ArrayLike) -> Mask:
    """Voxels of a mask that share a face with a voxel outside it.

    Args:
        mask: Binary mask of any number of axes. Axes of length one are left out (see the module).

    Returns:
        Boolean mask of the same shape.

    Raises:
        ValueRangeError: Not a binary mask.

    Example:
        >>> border([[1, 1, 1], [1, 1, 1], [1, 1, 1]]).astype(int).tolist()
        [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
        >>> border([[1, 1, 1]]).astype(int).tolist()
        [[1, 0, 1]]
    """
    found = as_mask(mask, "mask")
    return _border(found, tuple(n == 1 for n in found.shape))


def diagonal_mm(shape: tuple[int, ...], spacing_mm: Spacing) -> float:
    """Longest diagonal of an image, the default penalty for a missed or false structure.

    Args:
        shape: Voxels an axis.
        spacing_mm: One number an axis in array order, or a square matrix of index steps (sheared grids).

    Returns:
        Millimetres, from outer corner to outer corner: more than between any two voxel centres.

    Raises:
        GeometryError: Shape and spacing do not fit.

    Example:
        >>> diagonal_mm((1, 30, 40), (1e-9, 2.0, 2.0))
        100.0
    """
    edges = index_steps(spacing_mm, len(shape)) * np.asarray(shape, dtype=np.float64)
    return max(float(np.linalg.norm(edges @ np.array(sign))) for sign in product((1, -1), repeat=len(shape)))


def surface_distances(
    prediction: ArrayLike, truth: ArrayLike, spacing_mm: Spacing, *, penalty_mm: float | None = None
) -> SurfaceDistances:
    """Nearest distances between two surfaces, in both directions.

    Args:
        prediction: Binary mask.
        truth: Binary mask of the same shape.
        spacing_mm: One number an axis in array order, or a square matrix of index steps (sheared grids).
        penalty_mm: Distance that stands for a missed or false structure; the diagonal of the image by default.

    Returns:
        The two sets; from them `hd95`, `assd` and `nsd` without searching again.

    Raises:
        GeometryError: Shapes or spacing do not fit.
        ValueRangeError: Not a binary mask.
        ConfigError: The penalty is not finite and at least 0.

    Example:
        >>> import numpy as np
        >>> truth = np.zeros((4, 9, 9), bool)
        >>> truth[1:3, 2:7, 2:7] = True
        >>> surface_distances(np.roll(truth, 1, axis=0), truth, (5.0, 1.0, 1.0)).percentile_mm(100)
        5.0
    """
    first, second = as_masks(prediction, truth)
    steps = index_steps(spacing_mm, first.ndim)
    penalty = diagonal_mm(first.shape, spacing_mm) if penalty_mm is None else float(penalty_mm)
    if not (np.isfinite(penalty) and penalty >= 0):
        raise ConfigError(f"penalty {penalty} mm is not finite and at least 0")
    some, others = bool(first.any()), bool(second.any())
    if not (some and others):
        return SurfaceDistances(np.empty(0), np.empty(0), penalty, penalised=some != others)
    flat = tuple(n == 1 for n in first.shape)
    box = _joint_box(first, second)
    first, second = _border(first[box], flat), _border(second[box], flat)
    return SurfaceDistances(_directed(first, second, steps), _directed(second, first, steps), penalty)


def _border(mask: Mask, flat: tuple[bool, ...]) -> Mask:
    """Border where ``flat`` axes have no neighbours. Slicing is several times faster than `scipy.ndimage` here."""
    if all(flat):
        return mask
    inside = mask.copy()
    for axis, skip in enumerate(flat):
        if skip:
            continue
        here, there, core = (np.moveaxis(a, axis, 0) for a in (mask, mask, inside))
        core[1:] &= here[:-1]
        core[:-1] &= there[1:]
        core[0] = core[-1] = False
    return mask & ~inside


def _joint_box(first: Mask, second: Mask) -> tuple[slice, ...]:
    """Smallest box that holds both masks; neither is empty."""
    box: list[slice] = [slice(None)] * first.ndim
    for axis in range(first.ndim):
        others = tuple(a for a in range(first.ndim) if a != axis)
        used = np.flatnonzero(first[tuple(box)].any(axis=others) | second[tuple(box)].any(axis=others))
        box[axis] = slice(int(used[0]), int(used[-1]) + 1)
    return tuple(box)


def _directed(source: Mask, target: Mask, steps: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial import cKDTree

    apart = ~target[source]  # most voxels of a good prediction lie on the other surface: no search for them
    distances = np.zeros(apart.size)
    if apart.any():
        tree = cKDTree(np.argwhere(target) @ steps.T, leafsize=32)
        distances[apart] = tree.query(np.argwhere(source & ~target) @ steps.T)[0]
    return distances
