"""Kernels that move points by a cubic B-spline, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isocenter.volume.compiled import compiled

__all__ = ["displace", "undo"]

Points = NDArray[np.float64]


@compiled
def _taps(place: float, spacing: float, size: int, count: int, weights: NDArray[np.float64]) -> int:
    """First of the four control points that move a place, and their weights; beyond the patch those of its border."""
    at = min(max(place, 0.0), size - 1.0) / spacing + ((count - 1) - (size - 1) / spacing) / 2
    first = min(max(int(np.floor(at)) - 1, 0), count - 4)
    t = at - first - 1
    u = 1 - t
    weights[0] = u * u * u / 6
    weights[1] = (3 * t * t * t - 6 * t * t + 4) / 6
    weights[2] = (3 * u * u * u - 6 * u * u + 4) / 6
    weights[3] = t * t * t / 6
    return first


@compiled
def _move(
    point: Points, control: NDArray[np.float64], spacing: tuple[float, float, float], shape: tuple[int, int, int],
    weights: NDArray[np.float64], moved: Points,
) -> None:  # fmt: skip
    """Displacement ``(3,)`` at one point."""
    z = _taps(point[0], spacing[0], shape[0], control.shape[1], weights[0])
    y = _taps(point[1], spacing[1], shape[1], control.shape[2], weights[1])
    x = _taps(point[2], spacing[2], shape[2], control.shape[3], weights[2])
    moved[:] = 0
    for i in range(4):
        for j in range(4):
            for k in range(4):
                share = weights[0, i] * weights[1, j] * weights[2, k]
                for axis in range(3):
                    moved[axis] += share * control[axis, z + i, y + j, x + k]


@compiled
def displace(
    points: Points, control: NDArray[np.float64], spacing: tuple[float, float, float], shape: tuple[int, int, int],
    out: Points,
) -> None:  # fmt: skip
    """Displacement ``(n, 3)`` at points ``(n, 3)``; see `isocenter.augment.elastic.Elastic`."""
    weights = np.empty((3, 4))
    for n in range(len(points)):
        _move(points[n], control, spacing, shape, weights, out[n])


@compiled
def undo(
    points: Points, control: NDArray[np.float64], spacing: tuple[float, float, float], shape: tuple[int, int, int],
    out: Points,
) -> None:  # fmt: skip
    """Points ``(n, 3)`` that are moved onto ``points``, by fixed-point iteration to a millionth of a voxel."""
    weights, moved = np.empty((3, 4)), np.empty(3)
    for n in range(len(points)):
        found = out[n]
        found[:] = points[n]
        for _ in range(2000):
            _move(found, control, spacing, shape, weights, moved)
            gap = 0.0
            for axis in range(3):
                place = points[n, axis] - moved[axis]
                gap = max(gap, abs(place - found[axis]))
                found[axis] = place
            if gap < 1e-6:
                break
