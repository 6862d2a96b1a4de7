"""Kernels that give a voxel the label with the largest share of interpolation weight.

Most voxels have one label all around. Where axes are parallel that is seen from the smallest and largest label in each
column of samples, which is quick to find for a whole row; shares are summed only where labels meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from isocenter.volume.compiled import compiled
from isocenter.volume.grid import Affine
from isocenter.volume.separable import as_read
from isocenter.volume.storage import by_rows, flat_view
from isocenter.volume.taps import AxisTaps

# numba's cache does not see changes in other files: touch this one when these change
from isocenter.volume.turned import Source, Steps, is_outside, nudged, place_of, stored_matrix, weigh

__all__ = ["vote_axes", "vote_turned"]

Table = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]
CLOSE = 1e-6
"""Shares nearer than this are equal: what is left is round-off."""


def vote_axes(
    labels: NDArray[np.uint8],
    taps: Sequence[AxisTaps],
    order: Sequence[int],
    out: NDArray[np.uint8],
    *,
    ignore: int,
    threads: int | None = None,
) -> None:
    """Labels on a grid with parallel axes.

    Args:
        labels: Three axes.
        taps: Linear tables.
        order: Axis of ``out`` for each axis of ``labels``.
        out: Contiguous.
        ignore: Takes no part in the vote, and stays where it is the nearest.
        threads: As for `isocenter.volume.compiled.in_parts`.
    """
    part, tables, axes = as_read(labels, taps)
    flat, (far, near) = flat_view(part)
    source = (flat, (far, near), part.shape[2])
    z, y, x = ((t.first, t.weights, t.nearest) for t in tables)
    by_rows(
        lambda block, base, start, stop: _vote_rows(source, (z, y, x), ignore, block, base, start, stop),
        out,
        [order[a] for a in axes],
        threads=threads,
    )


def vote_turned(
    labels: NDArray[np.uint8],
    matrix: Affine,
    out: NDArray[np.uint8],
    *,
    widen: tuple[float, float, float],
    ignore: int,
    threads: int | None = None,
) -> None:
    """Labels on a grid turned or sheared against theirs; arguments as for `isocenter.volume.turned.resample_turned`."""
    view, m, axes = stored_matrix(labels, nudged(matrix))
    flat, (z, y) = flat_view(view)
    source = (flat, (z, y, 1), view.shape)
    a, b, c = (widen[axis] for axis in axes)
    by_rows(
        lambda block, base, start, stop: _vote_places(source, m, (a, b, c), ignore, block, start, stop),
        out,
        threads=threads,
    )


@compiled
def _largest(
    flat: NDArray[np.uint8], at: NDArray[np.int64], weights: NDArray[np.float64], taps: Steps, ignore: int,
    shares: NDArray[np.float64], seen: NDArray[np.int64],
) -> int:  # fmt: skip
    """Label with the largest share; ``shares`` has a place for each label, all 0, and is left so."""
    count = 0
    for r in range(taps[0]):
        for s in range(taps[1]):
            p, w = at[0, r] + at[1, s], weights[0, r] * weights[1, s]
            for t in range(taps[2]):
                v = flat[p + at[2, t]]
                share = w * weights[2, t]
                if share > 0:
                    if shares[v] == 0:
                        seen[count] = v
                        count += 1
                    shares[v] += share
    best, most = 0, 0.0
    for n in range(count):
        v = seen[n]
        share = shares[v]
        shares[v] = 0
        if v == ignore:
            continue
        # between equal shares: structures before background, then the lower number
        ahead = v != 0 and (best == 0 or v < best)
        if share > most + CLOSE or (share > most - CLOSE and ahead):
            best, most = v, share
    return best


@compiled
def _uniform(flat: NDArray[np.uint8], at: NDArray[np.int64], taps: Steps, one: int) -> bool:
    """Whether all samples are ``one``."""
    for r in range(taps[0]):
        for s in range(taps[1]):
            p = at[0, r] + at[1, s]
            for t in range(taps[2]):
                if flat[p + at[2, t]] != one:
                    return False
    return True


@compiled
def _vote_rows(
    source: tuple[NDArray[np.uint8], tuple[int, int], int], tables: tuple[Table, Table, Table], ignore: int,
    out: NDArray[np.uint8], base: int, start: int, stop: int,
) -> None:  # fmt: skip
    """Output rows ``start`` to ``stop``, counted over all slices; ``out`` begins at slice ``base``."""
    flat, steps, width = source
    (first_z, weights_z, nearest_z), (first_y, weights_y, nearest_y), (first_x, weights_x, nearest_x) = tables
    taps = (len(weights_z), len(weights_y), len(weights_x))
    weights = np.empty((3, max(taps)))
    at = np.empty((3, max(taps)), np.int64)
    shares, seen = np.zeros(256), np.empty(256, np.int64)
    low, high = np.empty(width, np.uint8), np.empty(width, np.uint8)
    for number in range(start, stop):
        k, j = number // len(first_y), number % len(first_y)
        for i in range(width):
            low[i], high[i] = 255, 0
        for r in range(taps[0]):
            at[0, r], weights[0, r] = (first_z[k] + r) * steps[0], weights_z[r, k]
            for s in range(taps[1]):
                at[1, s], weights[1, s] = (first_y[j] + s) * steps[1], weights_y[s, j]
                row = flat[at[0, r] + at[1, s] : at[0, r] + at[1, s] + width]
                for i in range(width):
                    low[i] = min(low[i], row[i])
                    high[i] = max(high[i], row[i])
        for i in range(len(first_x)):
            c = first_x[i]
            one = low[c]
            same = True
            for t in range(taps[2]):
                same = same and low[c + t] == one and high[c + t] == one
            if not same:
                for t in range(taps[2]):
                    at[2, t], weights[2, t] = c + t, weights_x[t, i]
                if flat[at[0, nearest_z[k]] + at[1, nearest_y[j]] + at[2, nearest_x[i]]] == ignore:
                    one = ignore
                else:
                    one = _largest(flat, at, weights, taps, ignore, shares, seen)
            out[k - base, j, i] = one


@compiled
def _vote_places(
    source: Source, m: Affine, widen: tuple[float, float, float], ignore: int, out: NDArray[np.uint8], start: int,
    stop: int,
) -> None:  # fmt: skip
    flat, steps, sizes = source
    taps = (ceil(2 * widen[0]), ceil(2 * widen[1]), ceil(2 * widen[2]))
    weights = np.empty((3, max(taps)))
    at = np.empty((3, max(taps)), np.int64)
    shares, seen = np.zeros(256), np.empty(256, np.int64)
    for number in range(start, stop):
        k, j = number // out.shape[1], number % out.shape[1]
        for i in range(out.shape[2]):
            if is_outside(place_of(m, 0, k, j, i), place_of(m, 1, k, j, i), place_of(m, 2, k, j, i), sizes):
                out[k, j, i] = ignore
                continue
            nearest = 0
            for axis in range(3):
                place = place_of(m, axis, k, j, i)
                first = weigh(place, widen[axis], False, weights[axis, : taps[axis]])
                for t in range(taps[axis]):
                    at[axis, t] = min(max(first + t, 0), sizes[axis] - 1) * steps[axis]
                nearest += min(max(floor(place + 0.5), 0), sizes[axis] - 1) * steps[axis]
            one = flat[nearest]
            if one != ignore and not _uniform(flat, at, taps, one):
                one = _largest(flat, at, weights, taps, ignore, shares, seen)
            out[k, j, i] = one
