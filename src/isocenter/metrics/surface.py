"""Hausdorff distance, mean surface distance and surface Dice of two masks.

What a surface is, and what an empty mask gives, is stated in `isocenter.metrics.distances`. Each function here searches
anew; for several figures of one pair take `isocenter.metrics.surface_distances` once.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from isocenter.metrics._check import Spacing
from isocenter.metrics.distances import surface_distances

__all__ = ["assd", "hd95", "nsd"]


def hd95(prediction: ArrayLike, truth: ArrayLike, spacing_mm: Spacing, *, penalty_mm: float | None = None) -> float:
    """95th percentile Hausdorff distance: the larger of the two directed 95th percentiles.

    Percentiles are interpolated linearly. This is the definition of Metrics Reloaded and MONAI; medpy takes one
    percentile of both directions pooled, which gives other (often smaller) figures.

    Args:
        prediction: Binary mask.
        truth: Binary mask of the same shape.
        spacing_mm: One number an axis in array order, or a square matrix of index steps (sheared grids).
        penalty_mm: Value for a missed or false structure; the diagonal of the image by default. Masks that were
            cropped need it, else the penalty would depend on the crop.

    Returns:
        Millimetres. Both empty: 0; one empty: the penalty.

    Raises:
        GeometryError: Shapes or spacing do not fit.
        ValueRangeError: Not a binary mask.

    Example:
        >>> hd95([0, 1, 1, 0], [0, 1, 1, 0], (1.0,))
        0.0
        >>> hd95([[0, 0, 0]] * 4, [[0, 1, 1]] * 4, (1.0, 1.0))
        5.0

    Reference:
        Huttenlocher et al., *Comparing images using the Hausdorff distance*, IEEE TPAMI 15 (1993), for partial
        distances; Maier-Hein, Reinke et al., *Metrics Reloaded*, Nature Methods 21 (2024), for this form.
    """
    return surface_distances(prediction, truth, spacing_mm, penalty_mm=penalty_mm).percentile_mm(95.0)


def assd(prediction: ArrayLike, truth: ArrayLike, spacing_mm: Spacing, *, penalty_mm: float | None = None) -> float:
    """Average symmetric surface distance: mean of the nearest distances of both directions together.

    Args:
        prediction: Binary mask.
        truth: Binary mask of the same shape.
        spacing_mm: One number an axis in array order, or a square matrix of index steps (sheared grids).
        penalty_mm: Value for a missed or false structure; the diagonal of the image by default.

    Returns:
        Millimetres. Both empty: 0; one empty: the penalty.

    Raises:
        GeometryError: Shapes or spacing do not fit.
        ValueRangeError: Not a binary mask.

    Example:
        >>> assd([0, 1, 1, 0, 0, 0], [0, 1, 1, 1, 1, 0], (2.0,))
        1.5

    Reference:
        Heimann et al., *Comparison and evaluation of methods for liver segmentation*, IEEE TMI 28 (2009).
    """
    return surface_distances(prediction, truth, spacing_mm, penalty_mm=penalty_mm).mean_mm()


def nsd(prediction: ArrayLike, truth: ArrayLike, spacing_mm: Spacing, tolerance_mm: float) -> float:
    """Normalised surface distance (surface Dice): share of both surfaces within a tolerance of the other one.

    Surface elements are border voxels, each counted once (module docstring), not areas of a mesh as in the authors'
    own code; a distance equal to the tolerance is within it.

    Args:
        prediction: Binary mask.
        truth: Binary mask of the same shape.
        spacing_mm: One number an axis in array order, or a square matrix of index steps (sheared grids).
        tolerance_mm: Deviation that is acceptable, e.g. that between two readers; 0 or more.

    Returns:
        0..1. Both empty: 1; one empty: 0.

    Raises:
        GeometryError: Shapes or spacing do not fit.
        ValueRangeError: Not a binary mask.
        ConfigError: The tolerance is negative or not finite.

    Example:
        >>> nsd([0, 1, 1, 0, 0, 0], [0, 1, 1, 1, 1, 0], (2.0,), tolerance_mm=2.0)
        0.75

    Reference:
        Nikolov et al., *Deep learning to achieve clinically applicable segmentation of head and neck anatomy for
        radiotherapy*, arXiv:1809.04430 (2018), J Med Internet Res 23 (2021).
    """
    return surface_distances(prediction, truth, spacing_mm).within(tolerance_mm)
