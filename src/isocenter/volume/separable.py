"""Resampling between grids whose axes are parallel: one pass, slice by slice, with a few rows of scratch a thread.

Each output row is made along the slice axis first, then along rows, then along columns. Blended rows are kept as long
as the next output row needs them, so nothing as large as a plane is ever in between. The order of sums is the same for
any number of threads, and so are the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isocenter.volume.compiled import compiled
from isocenter.volume.storage import as_stored, by_rows, flat_view
from isocenter.volume.taps import AxisTaps

__all__ = ["as_read", "resample_axes"]

Table = tuple[NDArray[np.int64], NDArray[np.float32]]


def resample_axes(
    values: NDArray[Any],
    taps: Sequence[AxisTaps],
    order: Sequence[int],
    out: NDArray[np.float32],
    *,
    threads: int | None = None,
) -> None:
    """Write ``values``, interpolated along each axis, to ``out``.

    Args:
        values: Three axes, any real dtype and memory layout.
        taps: One table for each axis of ``values``.
        order: Axis of ``out`` that belongs to each axis of ``values``.
        out: Contiguous; ``out.shape[order[a]]`` is the length of table ``a``.
        threads: As for `isocenter.volume.compiled.in_parts`.

    Example:
        >>> from isocenter.volume.taps import axis_taps
        >>> same, half = axis_taps(1, np.zeros(1)), axis_taps(3, np.arange(5) / 2)
        >>> out = np.empty((5, 1, 1), np.float32)
        >>> resample_axes(np.array([[[0, 10, 30]]], np.int16), (same, same, half), (2, 1, 0), out)
        >>> out.ravel().tolist()
        [0.0, 5.0, 10.0, 20.0, 30.0]
    """
    part, tables, axes = as_read(values, taps)
    flat, (far, near) = flat_view(part)
    source = (flat, (far, near, part.shape[2]))
    z, y, x = ((t.first, t.weights) for t in tables)
    apart = np.diff(x[0])
    step = int(apart[0]) if len(apart) and (apart == apart[0]).all() else 0
    by_rows(
        lambda block, base, start, stop: _blend(source, (z, y, x), step, block, base, start, stop),
        out,
        [order[a] for a in axes],
        threads=threads,
    )


def as_read(
    values: NDArray[Any], taps: Sequence[AxisTaps]
) -> tuple[NDArray[Any], tuple[AxisTaps, ...], tuple[int, ...]]:
    """The part of ``values`` that is read, in memory order; its tables; the old axis of each of its axes."""
    view, axes, flipped = as_stored(values)
    tables = [taps[a].mirrored(values.shape[a]) if flipped[a] else taps[a] for a in axes]
    reach = [t.reach for t in tables]
    part = view[tuple(slice(a, b) for a, b in reach)]
    return part, tuple(t.shifted(a) for t, (a, _) in zip(tables, reach, strict=True)), axes


@compiled
def _blend(
    source: tuple[NDArray[Any], tuple[int, int, int]], tables: tuple[Table, Table, Table], step: int,
    out: NDArray[np.float32], base: int, start: int, stop: int,
) -> None:  # fmt: skip
    """Output rows ``start`` to ``stop``, counted over all slices; ``out`` begins at slice ``base``."""
    flat, (far, near, width) = source
    (first_z, weights_z), (first_y, weights_y), (first_x, weights_x) = tables
    taps = len(weights_y)
    four = taps == 2 and len(weights_z) == 2
    kept = np.empty((taps, width), np.float32)  # rows blended along the slice axis
    which = np.empty(taps, np.int64)
    line = np.empty(width, np.float32)
    columns = first_x.astype(np.uint32)  # unsigned: no checks for negative indices
    current = -1
    for number in range(start, stop):
        k, j = number // len(first_y), number % len(first_y)
        if k != current:
            current = k
            for t in range(taps):
                which[t] = -1
        if four:
            shares = (weights_z[0, k], weights_z[1, k], weights_y[0, j], weights_y[1, j])
            _between_four(flat, first_z[k] * far + first_y[j] * near, (far, near), shares, line)
        else:
            for row in range(first_y[j], first_y[j] + taps):
                if which[row % taps] != row:
                    which[row % taps] = row
                    _between_slices(flat, first_z[k] * far + row * near, far, weights_z, k, kept[row % taps])
            _between_rows(kept, first_y[j], weights_y, j, line)
        if step == 1:  # columns at regular steps are read without looking up where they are
            _at_steps(line[columns[0] :], 1, weights_x, out[k - base, j])
        elif step == 2:
            _at_steps(line[columns[0] :], 2, weights_x, out[k - base, j])
        else:
            _between_columns(line, columns, weights_x, out[k - base, j])


@compiled
def _between_four(
    flat: NDArray[Any], place: int, steps: tuple[int, int], shares: tuple[float, float, float, float],
    line: NDArray[np.float32],
) -> None:  # fmt: skip
    """Linear along slices and rows at once, which beats keeping rows blended along one of them."""
    width = len(line)
    a, b = flat[place : place + width], flat[place + steps[1] : place + steps[1] + width]
    place += steps[0]
    c, d = flat[place : place + width], flat[place + steps[1] : place + steps[1] + width]
    z0, z1, y0, y1 = shares
    p, q, r, s = z0 * y0, z0 * y1, z1 * y0, z1 * y1
    for i in range(width):
        line[i] = p * np.float32(a[i]) + q * np.float32(b[i]) + r * np.float32(c[i]) + s * np.float32(d[i])


@compiled
def _between_slices(
    flat: NDArray[Any], place: int, step: int, weights: NDArray[np.float32], k: int, row: NDArray[np.float32]
) -> None:
    width, taps = len(row), len(weights)
    for i in range(width):
        row[i] = 0
    for t in range(0, taps - 1, 2):  # by two, since most of the time goes into moving rows
        a, w = flat[place : place + width], weights[t, k]
        b, v = flat[place + step : place + step + width], weights[t + 1, k]
        for i in range(width):
            row[i] += w * np.float32(a[i]) + v * np.float32(b[i])
        place += 2 * step
    if taps % 2:
        a, w = flat[place : place + width], weights[taps - 1, k]
        for i in range(width):
            row[i] += w * np.float32(a[i])


@compiled
def _between_rows(
    kept: NDArray[np.float32], first: int, weights: NDArray[np.float32], j: int, line: NDArray[np.float32]
) -> None:
    taps = len(weights)
    for i in range(len(line)):
        line[i] = 0
    for t in range(0, taps - 1, 2):
        a, w = kept[(first + t) % taps], weights[t, j]
        b, v = kept[(first + t + 1) % taps], weights[t + 1, j]
        for i in range(len(line)):
            line[i] += w * a[i] + v * b[i]
    if taps % 2:
        a, w = kept[(first + taps - 1) % taps], weights[taps - 1, j]
        for i in range(len(line)):
            line[i] += w * a[i]


@compiled
def _at_steps(line: NDArray[np.float32], step: int, weights: NDArray[np.float32], row: NDArray[np.float32]) -> None:
    for i in range(len(row)):
        row[i] = 0
    for t in range(len(weights)):
        a, w = line[t:], weights[t]
        for i in range(len(row)):
            row[i] += w[i] * a[step * i]


@compiled
def _between_columns(
    line: NDArray[np.float32], columns: NDArray[np.uint32], weights: NDArray[np.float32], row: NDArray[np.float32]
) -> None:
    taps = len(weights)
    for i in range(len(row)):
        row[i] = 0
    for t in range(0, taps - 1, 2):
        a, w = line[t:], weights[t]
        b, v = line[t + 1 :], weights[t + 1]
        for i in range(len(columns)):
            row[i] += w[i] * a[columns[i]] + v[i] * b[columns[i]]
    if taps % 2:
        a, w = line[taps - 1 :], weights[taps - 1]
        for i in range(len(columns)):
            row[i] += w[i] * a[columns[i]]
