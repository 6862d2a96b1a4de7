"""Nearest neighbour: values are moved, not computed, so every data type keeps its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isocenter.volume.compiled import in_parts
from isocenter.volume.mapping import AxisMap
from isocenter.volume.taps import nearest_samples

__all__ = ["nearest_axes"]


def nearest_axes(values: NDArray[Any], maps: Sequence[AxisMap], out: NDArray[Any]) -> None:
    """Write the nearest voxel of ``values`` to each of ``out``, where the axes of both are parallel.

    Args:
        values: Three axes.
        maps: For each of them, as `isocenter.volume.mapping.aligned_axes` gives them.
        out: Same dtype.
    """
    z, y, x = (nearest_samples(n, m.places) for n, m in zip(values.shape, maps, strict=True))
    target = out.transpose([m.axis for m in maps])
    rows, columns = _as_slice(y), _as_slice(x)

    def work(start: int, stop: int) -> None:
        for k in range(start, stop):
            plane = values[z[k]]
            plane = plane[rows] if isinstance(rows, slice) else plane.take(rows, axis=0)
            target[k] = plane[:, columns] if isinstance(columns, slice) else plane.take(columns, axis=1)

    in_parts(work, len(z), least=(1 << 15) // (len(y) * len(x)) + 1)


def _as_slice(samples: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Whole voxels in a row need no table."""
    for step in (1, -1):
        if (np.diff(samples) == step).all():
            stop = int(samples[-1]) + step
            return slice(int(samples[0]), None if stop < 0 else stop, step)
    return samples
