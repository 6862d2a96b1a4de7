"""What every measure asks of its arguments, refused in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isocenter.errors import ConfigError, GeometryError, ValueRangeError

Mask = NDArray[np.bool_]
Spacing = Sequence[float] | NDArray[np.floating[Any]]
"""Millimetres per index step: one number an axis, or a square matrix whose columns are the steps (sheared grids)."""


def as_mask(array: ArrayLike, what: str) -> Mask:
    """A boolean view or copy of a binary mask.

    Label maps and probabilities are refused: read as "non-zero", they would give a plausible wrong number.
    """
    found = np.asarray(array)
    if found.dtype == np.bool_:
        return found
    if not np.issubdtype(found.dtype, np.integer):
        raise ValueRangeError(f"{what} is {found.dtype}, not a binary mask; compare it with a label or threshold first")
    if found.size and (found.min() < 0 or found.max() > 1):
        low, high = int(found.min()), int(found.max())
        raise ValueRangeError(f"{what} has values {low}..{high}, not 0 and 1; pass one structure: `labels == value`")
    return found.astype(np.bool_)


def as_masks(prediction: ArrayLike, truth: ArrayLike) -> tuple[Mask, Mask]:
    """Both masks, of one shape."""
    first, second = as_mask(prediction, "prediction"), as_mask(truth, "truth")
    if first.shape != second.shape:
        raise GeometryError(
            f"prediction has shape {first.shape}, truth {second.shape}; bring both onto one grid before measuring"
        )
    if first.size == 0:
        raise GeometryError(f"masks of shape {first.shape} have no voxel; nothing can be measured")
    return first, second


def index_steps(spacing_mm: Spacing, ndim: int) -> NDArray[np.float64]:
    """``(ndim, ndim)`` matrix whose columns are the steps between neighbouring voxels in mm."""
    found = np.asarray(spacing_mm, dtype=np.float64)
    if found.shape == (ndim,):
        if not (np.isfinite(found).all() and (found > 0).all()):
            raise GeometryError(f"spacing {found.tolist()} mm is not finite and positive")
        return np.diag(found)
    if found.shape == (ndim, ndim):
        if not np.isfinite(found).all() or abs(np.linalg.det(found)) == 0:
            raise GeometryError(f"index steps {found.tolist()} mm are not a finite invertible matrix")
        return found
    raise GeometryError(
        f"spacing of shape {found.shape} for masks of {ndim} axes; give {ndim} numbers or a square matrix"
    )


def as_classes(array: ArrayLike, what: str) -> NDArray[np.int64]:
    """Class indices ``(case,)``, at least one."""
    found = np.asarray(array)
    if found.ndim != 1 or found.size == 0:
        raise ConfigError(f"{what} has shape {found.shape}; give one class index a case, for at least one case")
    if found.dtype != np.bool_ and not np.issubdtype(found.dtype, np.integer):
        raise ValueRangeError(f"{what} is {found.dtype}; give class indices as integers")
    if found.min() < 0:
        raise ValueRangeError(f"{what} has class {int(found.min())}; class indices start at 0")
    return found.astype(np.int64)


def as_finite(array: ArrayLike, what: str) -> NDArray[np.float64]:
    """Float64 values without NaN or infinity."""
    found = np.asarray(array, dtype=np.float64)
    if not np.isfinite(found).all():
        raise ValueRangeError(f"{what} has {int((~np.isfinite(found)).sum())} values that are NaN or infinite")
    return found


def same_length(**arrays: Sequence[Any] | NDArray[Any]) -> None:
    """Refuses arrays of different length."""
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ConfigError("lengths differ: " + ", ".join(f"{name} {n}" for name, n in lengths.items()))
