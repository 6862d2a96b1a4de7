"""Overlap of two masks, and the volumes they enclose.

Empty masks, here and in `isocenter.metrics.surface`: where both are empty they agree, and a bare function returns the
best value (Dice 1). In summaries such a structure is counted as *absent* and enters no mean, because ones for
structures that are not there flatter. Where only one is empty, the structure was *missed* or is *false*, and the worst
value is returned (Dice 0). Nothing is ever NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from isocenter.metrics._check import Mask, Spacing, as_masks, index_steps

__all__ = ["dice", "jaccard", "relative_volume_error", "volume_bias_ml", "volume_error_ml"]


def _counts(prediction: Mask, truth: Mask) -> tuple[int, int, int]:
    both = int(np.count_nonzero(prediction & truth))
    return both, int(np.count_nonzero(prediction)), int(np.count_nonzero(truth))


def dice(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Dice similarity, twice the common voxels over the sum of both.

    Args:
        prediction: Binary mask, any shape.
        truth: Binary mask of the same shape.

    Returns:
        0..1. Both empty: 1; one empty: 0.

    Raises:
        GeometryError: The shapes differ.
        ValueRangeError: Not a binary mask.

    Example:
        >>> dice([[0, 1, 1]], [[0, 0, 1]]) == 2 / 3
        True
        >>> dice([0, 0], [0, 0])
        1.0

    Reference:
        Dice, *Measures of the amount of ecologic association between species*, Ecology 26 (1945).
    """
    both, first, second = _counts(*as_masks(prediction, truth))
    return 2 * both / (first + second) if first + second else 1.0


def jaccard(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Jaccard index (intersection over union) of two masks.

    Args:
        prediction: Binary mask, any shape.
        truth: Binary mask of the same shape.

    Returns:
        0..1. Both empty: 1; one empty: 0.

    Raises:
        GeometryError: The shapes differ.
        ValueRangeError: Not a binary mask.

    Example:
        >>> jaccard([[0, 1, 1]], [[0, 0, 1]])
        0.5
    """
    both, first, second = _counts(*as_masks(prediction, truth))
    return both / (first + second - both) if first + second else 1.0


def volume_bias_ml(prediction: ArrayLike, truth: ArrayLike, spacing_mm: Spacing) -> float:
    """Volume of the prediction minus that of the truth.

    Args:
        prediction: Binary mask.
        truth: Binary mask of the same shape.
        spacing_mm: One number an axis in array order, or a square matrix of index steps (sheared grids).

    Returns:
        Millilitres; negative where the prediction is too small. Its mean over cases is a bias: errors cancel.

    Raises:
        GeometryError: Shapes or spacing do not fit.
        ValueRangeError: Not a binary mask.

    Example:
        >>> volume_bias_ml([[[0, 0, 1]]], [[[0, 1, 1]]], (10.0, 10.0, 5.0))
        -0.5
    """
    first, second = as_masks(prediction, truth)
    voxel_ml = abs(float(np.linalg.det(index_steps(spacing_mm, first.ndim)))) / 1000
    return (int(np.count_nonzero(first)) - int(np.count_nonzero(second))) * voxel_ml


def volume_error_ml(prediction: ArrayLike, truth: ArrayLike, spacing_mm: Spacing) -> float:
    """Absolute difference of the two volumes, so that a mean over cases cannot cancel out.

    Args:
        prediction: Binary mask.
        truth: Binary mask of the same shape.
        spacing_mm: One number an axis in array order, or a square matrix of index steps (sheared grids).

    Returns:
        Millilitres, 0 or more.

    Raises:
        GeometryError: Shapes or spacing do not fit.
        ValueRangeError: Not a binary mask.

    Example:
        >>> volume_error_ml([[[0, 0, 1]]], [[[0, 1, 1]]], (10.0, 10.0, 5.0))
        0.5
    """
    return abs(volume_bias_ml(prediction, truth, spacing_mm))


def relative_volume_error(prediction: ArrayLike, truth: ArrayLike) -> float:
    """Absolute difference of the two volumes over that of the truth (RAVD as a fraction).

    Args:
        prediction: Binary mask, any shape.
        truth: Binary mask of the same shape.

    Returns:
        0 or more; 1 for a missed structure. The ratio has no value for a false one (empty truth): 1 by convention, the
        same as for a missed one. Both empty: 0.

    Raises:
        GeometryError: The shapes differ.
        ValueRangeError: Not a binary mask.

    Example:
        >>> relative_volume_error([0, 0, 0, 1], [0, 0, 1, 1])
        0.5

    Reference:
        Heimann et al., *Comparison and evaluation of methods for liver segmentation*, IEEE TMI 28 (2009).
    """
    _, first, second = _counts(*as_masks(prediction, truth))
    if not second:
        return 1.0 if first else 0.0
    return abs(first - second) / second
