"""Resampling between grids that are turned or sheared against each other: one pass, nothing kept in between.

The place of an output voxel is found in the source, and the samples around it are summed with the product of their
weights along the three source axes. `weigh_all` makes the tables of `isocenter.volume.taps` from the same weights, so
that both ways agree where both apply.
"""

from __future__ import annotations

from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isocenter.volume.compiled import compiled
from isocenter.volume.grid import Affine
from isocenter.volume.mapping import EDGE
from isocenter.volume.storage import as_stored, by_rows, flat_view

__all__ = ["nearest_turned", "nudged", "resample_turned", "stored_matrix", "weigh", "weigh_all"]

Steps = tuple[int, int, int]
Source = tuple[NDArray[Any], Steps, Steps]  # voxels, steps in them, sizes


def resample_turned(
    values: NDArray[Any],
    matrix: Affine,
    out: NDArray[np.float32],
    *,
    widen: tuple[float, float, float] = (1.0, 1.0, 1.0),
    cubic: bool = False,
    fill: float | None = None,
    threads: int | None = None,
) -> None:
    """Write the values at ``matrix @ index`` to ``out``; see `isocenter.volume.resample_array`.

    Args:
        values: Three axes, any real dtype.
        matrix: 4x4, from output index to index of ``values``.
        out: Contiguous.
        widen: Factor by which the kernel is stretched along each axis of ``values``.
        cubic: Catmull-Rom in place of linear.
        fill: Value outside; ``None`` repeats the border.
        threads: As for `isocenter.volume.compiled.in_parts`.
    """
    view, m, axes = stored_matrix(values, matrix)
    flat, (z, y) = flat_view(view)
    z_wide, y_wide, x_wide = (widen[a] if values.shape[a] > 1 else 1.0 for a in axes)
    source = (flat, (z, y, 1), view.shape)
    beyond = (fill is not None, float(fill or 0))

    def work(block: NDArray[np.float32], base: int, start: int, stop: int) -> None:
        if cubic or max(z_wide, y_wide, x_wide) > 1:
            _windows(source, m, (z_wide, y_wide, x_wide, cubic), block, beyond, start, stop)
        else:
            _corners(source, m, block, beyond, start, stop)

    by_rows(work, out, threads=threads)


def nearest_turned(
    values: NDArray[Any], matrix: Affine, out: NDArray[Any], *, fill: float | None = None, threads: int | None = None
) -> None:
    """Write the value of the voxel nearest to ``matrix @ index`` to ``out``, which has the dtype of ``values``."""
    kind = f"u{values.itemsize}"  # bits are moved, whatever they mean
    view, m, _ = stored_matrix(values.view(kind), nudged(matrix))
    flat, (z, y) = flat_view(view, (kind,))
    source = (flat, (z, y, 1), view.shape)
    beyond = (fill is not None, np.array([fill or 0], values.dtype).view(kind)[0])
    by_rows(
        lambda block, base, start, stop: _nearest(source, m, block, beyond, start, stop),
        out.view(kind),
        threads=threads,
    )


def nudged(matrix: Affine) -> Affine:
    """The map with halves pushed up, so that the nearest of two equally near voxels is always the same one."""
    moved = matrix.astype(np.float64)
    moved[:3, 3] += 1e-9
    return moved


def stored_matrix(values: NDArray[Any], matrix: Affine) -> tuple[NDArray[Any], Affine, tuple[int, ...]]:
    """``values`` in memory order, the 3x4 matrix to its indices, and the old axis of each of its axes."""
    view, axes, flipped = as_stored(values)
    rows = matrix[:3].astype(np.float64)
    for axis, flip in enumerate(flipped):
        if flip:
            rows[axis] *= -1
            rows[axis, 3] += values.shape[axis] - 1
    return view, np.ascontiguousarray(rows[list(axes)]), axes


@compiled
def weigh(place: float, widen: float, cubic: bool, weights: NDArray[np.float64]) -> int:
    """Weights of the samples around ``place``, as many as ``weights`` holds; returns the index of the first."""
    reach = 2.0 if cubic else 1.0
    first = floor(place - reach * widen) + 1
    m0 = m1 = g0 = g1 = g2 = 0.0
    for t in range(len(weights)):
        d = (first + t - place) / widen
        a = abs(d)
        g = max(0.0, 1.0 - a / reach)
        w = g
        if cubic:
            w = (1.5 * a - 2.5) * a * a + 1.0 if a < 1 else max(0.0, 2.0 - a) ** 2 * (1.0 - a) * 0.5
        w /= widen
        weights[t] = w
        m0, m1 = m0 + w, m1 + w * d
        g0, g1, g2 = g0 + g, g1 + g * d, g2 + g * d * d
    if widen > 1:
        # add a multiple of the triangle g, and of g * d, such that weights sum to 1 and their mean place is right
        scale = 1.0 / (g0 * g2 - g1 * g1)
        p = ((1 - m0) * g2 + m1 * g1) * scale
        q = (-m1 * g0 - (1 - m0) * g1) * scale
        for t in range(len(weights)):
            d = (first + t - place) / widen
            weights[t] += max(0.0, 1.0 - abs(d) / reach) * (p + q * d)
    return first


@compiled
def weigh_all(
    places: NDArray[np.float64], widen: float, cubic: bool, first: NDArray[np.int64], weights: NDArray[np.float64]
) -> None:
    """`weigh` for each of ``places``; ``weights`` is ``(n, taps)``."""
    for i in range(len(places)):
        first[i] = weigh(places[i], widen, cubic, weights[i])


@compiled
def place_of(m: Affine, axis: int, k: int, j: int, i: int) -> float:
    """Source index along one axis."""
    place: float = m[axis, 0] * k + m[axis, 1] * j + m[axis, 2] * i + m[axis, 3]
    return place


@compiled
def is_outside(a: float, b: float, c: float, sizes: Steps) -> bool:
    """More than half a voxel from the outermost centres."""
    low, high = min(a, b, c), max(a - sizes[0], b - sizes[1], c - sizes[2])
    return low < -EDGE or high > EDGE - 1


@compiled
def _corners(
    source: Source, m: Affine, out: NDArray[np.float32], beyond: tuple[bool, float], start: int, stop: int
) -> None:
    """Trilinear: the eight samples around each place."""
    flat, steps, sizes = source
    for number in range(start, stop):
        k, j = number // out.shape[1], number % out.shape[1]
        for i in range(out.shape[2]):
            a, b, c = place_of(m, 0, k, j, i), place_of(m, 1, k, j, i), place_of(m, 2, k, j, i)
            if beyond[0] and is_outside(a, b, c, sizes):
                out[k, j, i] = beyond[1]
                continue
            a, b, c = (
                min(max(a, 0.0), sizes[0] - 1.0),
                min(max(b, 0.0), sizes[1] - 1.0),
                min(max(c, 0.0), sizes[2] - 1.0),
            )
            z, y, x = int(a), int(b), int(c)
            w, v, u = np.float32(a - z), np.float32(b - y), np.float32(c - x)
            at = z * steps[0] + y * steps[1] + x * steps[2]
            # no step where the next sample has no weight: it may not exist
            dz, dy, dx = steps[0] * (w > 0), steps[1] * (v > 0), steps[2] * (u > 0)
            total = np.float32(0)
            for n in range(4):
                p = at + (n >> 1) * dz + (n & 1) * dy
                share = (w if n >> 1 else 1 - w) * (v if n & 1 else 1 - v)
                total += share * ((1 - u) * np.float32(flat[p]) + u * np.float32(flat[p + dx]))
            out[k, j, i] = total


@compiled
def _windows(
    source: Source, m: Affine, kernel: tuple[float, float, float, bool], out: NDArray[np.float32],
    beyond: tuple[bool, float], start: int, stop: int,
) -> None:  # fmt: skip
    """Wider kernels: all samples in reach of each place."""
    flat, steps, sizes = source
    widen, cubic = kernel[:3], kernel[3]
    taps = [ceil(2 * s * (2 if cubic else 1)) for s in widen]
    weights = np.empty((3, max(taps)))
    at = np.empty((3, max(taps)), np.int64)
    for number in range(start, stop):
        k, j = number // out.shape[1], number % out.shape[1]
        for i in range(out.shape[2]):
            a, b, c = place_of(m, 0, k, j, i), place_of(m, 1, k, j, i), place_of(m, 2, k, j, i)
            if beyond[0] and is_outside(a, b, c, sizes):
                out[k, j, i] = beyond[1]
                continue
            for axis in range(3):
                first = weigh(place_of(m, axis, k, j, i), widen[axis], cubic, weights[axis, : taps[axis]])
                for t in range(taps[axis]):
                    at[axis, t] = min(max(first + t, 0), sizes[axis] - 1) * steps[axis]
            total = 0.0
            for r in range(taps[0]):
                for s in range(taps[1]):
                    p, w = at[0, r] + at[1, s], weights[0, r] * weights[1, s]
                    for t in range(taps[2]):
                        total += w * weights[2, t] * flat[p + at[2, t]]
            out[k, j, i] = total


@compiled
def _nearest(source: Source, m: Affine, out: NDArray[Any], beyond: tuple[bool, Any], start: int, stop: int) -> None:
    flat, steps, sizes = source
    for number in range(start, stop):
        k, j = number // out.shape[1], number % out.shape[1]
        for i in range(out.shape[2]):
            a, b, c = place_of(m, 0, k, j, i), place_of(m, 1, k, j, i), place_of(m, 2, k, j, i)
            if beyond[0] and is_outside(a, b, c, sizes):
                out[k, j, i] = beyond[1]
                continue
            z = min(max(floor(a + 0.5), 0), sizes[0] - 1)
            y = min(max(floor(b + 0.5), 0), sizes[1] - 1)
            x = min(max(floor(c + 0.5), 0), sizes[2] - 1)
            out[k, j, i] = flat[z * steps[0] + y * steps[1] + x * steps[2]]
