"""Kernels that change the values of planes ``(plane, row, column)``, float32, in place.

Each does the planes ``start`` to ``stop``. A plane is computed by itself and sums run down its columns before they are
added up from left to right, so that results do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isocenter.augment.elementary import exp2, hashed, log, log2, turn
from isocenter.volume.compiled import compiled

__all__ = ["add_noise", "bend", "blur", "coarsen", "rescale", "statistics"]

Planes = NDArray[np.float32]


@compiled
def add_noise(planes: Planes, deviation: np.float32, key: np.uint64, start: int, stop: int) -> None:
    """Add normal noise that depends on the key and on the voxel's place alone.

    Two voxels of a plane, half a plane apart, share one hash (Box and Muller 1958).
    """
    voxels = planes.shape[1] * planes.shape[2]
    half = (voxels + 1) // 2
    for plane in range(start, stop):
        flat = planes[plane].reshape(voxels)
        near, far = flat[:half], flat[half:]
        first = np.uint64(plane) * np.uint64(half)
        for i in range(far.size):
            across, along = _normal(hashed(key, first + np.uint64(i)), deviation)
            near[i] += across
            far[i] += along
        if far.size < half:
            near[half - 1] += _normal(hashed(key, first + np.uint64(half - 1)), deviation)[0]


@compiled
def _normal(bits: np.uint64, deviation: np.float32) -> tuple[np.float32, np.float32]:
    """Two independent normal numbers; at most 6.6 deviations."""
    upper = np.float32(np.int32(bits >> np.uint64(33)))
    lower = np.float32(np.int32((bits >> np.uint64(8)) & np.uint64(0xFFFFFF)))
    share = (upper + np.float32(0.5)) * np.float32(2.0**-31)
    radius = np.sqrt(np.float32(-2.0) * min(log(share), np.float32(0.0))) * deviation
    across, along = turn(lower * np.float32(2.0**-24))
    return radius * across, radius * along


@compiled
def _reflected(i: int, n: int) -> int:
    """Index within 0..n-1, reflected at the outermost voxels."""
    i = abs(i)
    return i if i < n else 2 * (n - 1) - i


@compiled
def blur(planes: Planes, down: NDArray[np.float32], along: NDArray[np.float32], start: int, stop: int) -> None:
    """Convolve rows and columns with odd kernels that reach less far than the plane; the border is reflected."""
    _, rows, columns = planes.shape
    reach_y, reach_x = down.size // 2, along.size // 2
    smooth = np.empty((rows, columns), np.float32)
    wide = np.empty(columns + 2 * reach_x, np.float32)
    for plane in range(start, stop):
        for y in range(rows):
            smooth[y] = 0
            for k in range(down.size):
                line = planes[plane, _reflected(y + k - reach_y, rows)]
                for x in range(columns):
                    smooth[y, x] += down[k] * line[x]
        for y in range(rows):
            for x in range(-reach_x, columns + reach_x):
                wide[x + reach_x] = smooth[y, _reflected(x, columns)]
            out = planes[plane, y]
            out[:] = 0
            for k in range(along.size):
                part = wide[k : k + columns]
                for x in range(columns):
                    out[x] += along[k] * part[x]


@compiled
def _between(size: int, few: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each voxel of an axis of which ``few`` samples are kept: the two it lies between, the share of the second."""
    kept, share = np.empty((size, 2), np.int64), np.empty(size, np.float32)
    for i in range(size):
        place = min(max((i + 0.5) * few / size - 0.5, 0.0), few - 1.0)
        first = min(int(place), max(few - 2, 0))
        share[i] = place - first
        kept[i, 0], kept[i, 1] = first * size // few, min(first + 1, few - 1) * size // few
    return kept, share


@compiled
def coarsen(planes: Planes, rows: int, columns: int, start: int, stop: int) -> None:
    """Keep so many rows and columns (nearest), and interpolate between them (linear) where all were."""
    of_rows, share_y = _between(planes.shape[1], rows)
    of_columns, share_x = _between(planes.shape[2], columns)
    line = np.empty(planes.shape[2], np.float32)
    for plane in range(start, stop):
        old = planes[plane].copy()
        for y in range(planes.shape[1]):
            a, b, part = old[of_rows[y, 0]], old[of_rows[y, 1]], share_y[y]
            for x in range(line.size):
                line[x] = a[x] + part * (b[x] - a[x])
            for x in range(line.size):
                left, right = line[of_columns[x, 0]], line[of_columns[x, 1]]
                planes[plane, y, x] = left + share_x[x] * (right - left)


@compiled
def statistics(planes: Planes, found: NDArray[np.float64], start: int, stop: int) -> None:
    """Sum, sum of squares, least and largest value of each plane, into ``found`` ``(plane, 4)``."""
    columns = planes.shape[2]
    total, square = np.empty(columns), np.empty(columns)
    low, high = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for plane in range(start, stop):
        total[:], square[:], low[:], high[:] = 0, 0, np.inf, -np.inf
        for y in range(planes.shape[1]):
            row = planes[plane, y]
            for x in range(columns):
                value = np.float64(row[x])
                total[x] += value
                square[x] += value * value
                low[x] = min(low[x], row[x])
                high[x] = max(high[x], row[x])
        found[plane, 0], found[plane, 1] = total.sum(), square.sum()
        found[plane, 2], found[plane, 3] = low.min(), high.max()


@compiled
def bend(planes: Planes, low: np.float32, high: np.float32, gamma: np.float32, start: int, stop: int) -> None:
    """Values from ``low`` to ``high`` as 0 to 1, to the power of ``gamma``."""
    scale = np.float32(1.0) / (high - low)
    for plane in range(start, stop):
        flat = planes[plane].reshape(planes.shape[1] * planes.shape[2])
        for i in range(flat.size):
            share = (flat[i] - low) * scale
            # least normal number, so that the logarithm is one
            power = exp2(gamma * log2(max(min(share, np.float32(1.0)), np.float32(1.2e-38))))
            flat[i] = power if share > 0 else np.float32(0.0)


@compiled
def rescale(planes: Planes, factor: np.float32, offset: np.float32, start: int, stop: int) -> None:
    """Multiply, then add."""
    for plane in range(start, stop):
        flat = planes[plane].reshape(planes.shape[1] * planes.shape[2])
        for i in range(flat.size):
            flat[i] = flat[i] * factor + offset
