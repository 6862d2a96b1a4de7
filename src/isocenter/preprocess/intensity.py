"""Values of images as network inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import ValueRangeError

if TYPE_CHECKING:
    from isocenter.plan import IntensitySpec

__all__ = ["check_values", "normalise"]


def check_values(array: NDArray[Any], where: str) -> None:
    """Refuse an image that cannot mean anything.

    Raises:
        ValueRangeError: NaN or infinite values, or the same value everywhere.

    Example:
        >>> check_values(np.array([0.0, np.nan, 1.0]), "case a: image 'ct'")
        Traceback (most recent call last):
        isocenter.errors.ValueRangeError: case a: image 'ct': has 1 NaN or infinite voxels; mend the file
    """
    low, high = float(array.min()), float(array.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise ValueRangeError(f"{where}: has {int((~np.isfinite(array)).sum())} NaN or infinite voxels; mend the file")
    if low == high:
        raise ValueRangeError(f"{where}: is constant (every voxel is {low:g}); the file holds no image")


def normalise(array: NDArray[np.float32], spec: IntensitySpec) -> NDArray[np.float32]:
    """Values as the plan's intensity scheme asks; a new array of the same shape.

    Example:
        >>> from isocenter.plan import IntensitySpec
        >>> spec = IntensitySpec(scheme="fixed", lower=-1000, upper=1000, mean=0, std=500)
        >>> normalise(np.array([-2000.0, 0.0, 250.0], np.float32), spec).tolist()
        [-2.0, 0.0, 0.5]
    """
    if spec.scheme == "none":
        return array.astype(np.float32)
    if spec.scheme == "fixed":
        clips = spec.lower is not None or spec.upper is not None
        values = np.clip(array, spec.lower, spec.upper) if clips else array
        return ((values - spec.mean) / spec.std).astype(np.float32)
    # a strided sample is enough for percentiles and far cheaper on large volumes
    step = max(1, array.size // 2_000_000) | 1  # odd, so that it does not keep to a few columns
    low, high = np.percentile(array.ravel()[::step], (0.5, 99.5))
    values = np.clip(array, low, high) if high > low else array
    mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    return ((values - mean) / max(std, 1e-6)).astype(np.float32)
