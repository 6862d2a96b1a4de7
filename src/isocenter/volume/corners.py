"""Kernels of `isocenter.volume.classmaps`: the class of each sample, of each cell, and of each voxel.

Linear interpolation is a weighted mean, so a class that is the largest at all eight corners of a cell is the largest
everywhere in it: such cells, nearly all of an image, are filled without computing anything. The labels are exactly
those that interpolating everywhere gives, also where classes are equal and with rounding. Values of 32 bits are
interpolated with 64 bits, by products with weights (not negative, the same for all classes) and sums. Rounding keeps
order, so a class that is nowhere less than another at the corners is not less in between; and if it is more at every
corner, it is by so many units of the last of 64 bits that it stays more. The class of a sample is the first of its
largest: where one class is that at all corners, those before it are less at each, those after it are nowhere more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isocenter.volume.compiled import compiled

__all__ = ["MIXED", "Ends", "decide", "rank", "sign"]

MIXED = 255

Ends = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""Of each output index: its two samples, the same twice where one suffices, and their weights ``(2, n)``."""


@compiled
def rank(
    flat: NDArray[np.float32], steps: tuple[int, int, int], kept: NDArray[np.float32], codes: NDArray[np.uint8],
    at: int, start: int, stop: int,
) -> None:  # fmt: skip
    """Copy rows ``start`` to ``stop``, counted over all slices, and write their largest classes, from slice ``at``."""
    classes, _, rows, width = kept.shape
    best, label = np.empty(width, np.float32), np.empty(width, np.int32)
    for number in range(start, stop):
        z, y = number // rows, number % rows
        for i in range(width):
            best[i] = -np.inf
            label[i] = MIXED
        for k in range(classes):
            place = k * steps[0] + z * steps[1] + y * steps[2]
            row, copy = flat[place : place + width], kept[k, at + z, y]
            for i in range(width):
                v = row[i]
                copy[i] = v
                wins = v > best[i]
                label[i] = k if wins else label[i]
                best[i] = v if wins else best[i]
        line = codes[0, at + z, y]
        for i in range(width):  # what is infinite and has no weight is not a number
            line[i] = label[i] if best[i] < np.inf else MIXED


@compiled
def sign(
    flat: NDArray[np.float32], steps: tuple[int, int, int], kept: NDArray[np.float32], codes: NDArray[np.uint8],
    at: int, start: int, stop: int,
) -> None:  # fmt: skip
    """As `rank`, for maps that stand for themselves: 1 where they are above 0."""
    maps, _, rows, width = kept.shape
    for number in range(start, stop):
        z, y = number // rows, number % rows
        for k in range(maps):
            place = k * steps[0] + z * steps[1] + y * steps[2]
            row, copy, line = flat[place : place + width], kept[k, at + z, y], codes[k, at + z, y]
            for i in range(width):
                v = row[i]
                copy[i] = v
                line[i] = 1 if 0 < v < np.inf else (0 if v <= 0 else MIXED)


@compiled
def decide(
    maps: NDArray[np.float32], codes: NDArray[np.uint8], ends: tuple[Ends, Ends, Ends], bounds: NDArray[np.int64],
    how: tuple[bool, bool], out: NDArray[np.uint8], start: int, stop: int,
) -> None:  # fmt: skip
    """Labels of output rows ``start`` to ``stop``, counted over all slices; column cell ``c`` is from bounds[c]."""
    (z, y, x), (exclusive, skip) = ends, how
    rows, columns = out.shape[1], maps.shape[3]
    runs = np.empty((columns, 3), np.int64)
    runs[0, 0], runs[0, 1], runs[0, 2] = 0, columns, MIXED
    count, low, high = 1, 0, columns
    kept, which = np.empty((2, len(maps), columns)), np.array([-1, -1])  # maps between two slices, by row
    line = np.empty((len(maps), columns))
    seen = (-1, -1, -1, -1)
    for number in range(start, stop):
        k, j = number // rows, number % rows
        corner = (z[0][k], z[1][k], y[0][j], y[1][j])
        if skip and corner != seen:
            count, low, high = _runs(codes, corner, runs)
            seen = corner
        if low < high:
            for row in (y[0][j], y[1][j]):
                if which[row % 2] != k * maps.shape[2] + row:
                    which[row % 2] = k * maps.shape[2] + row
                    _between_slices(maps, (z[0][k], z[1][k]), (z[2][0, k], z[2][1, k]), row, kept[row % 2])
            _between_rows(kept[y[0][j] % 2], kept[y[1][j] % 2], (y[2][0, j], y[2][1, j]), (low, high), line)
        line_out = out[k, j]
        for r in range(count):
            first, last, code = bounds[runs[r, 0]], bounds[runs[r, 1]], np.uint8(runs[r, 2])
            if code == MIXED:
                _compare(line, x, (first, last), exclusive, line_out)
            else:
                part = line_out[first:last]
                for i in range(len(part)):
                    part[i] = code


@compiled
def _runs(codes: NDArray[np.uint8], corner: tuple[int, int, int, int], runs: NDArray[np.int64]) -> tuple[int, int, int]:
    """Cells between columns ``c`` and ``c + 1`` in runs of one class, where all corners agree, or `MIXED`.

    Writes first cell, last cell (out) and class of each run; returns their number and the columns of mixed cells.
    """
    a, b = codes[corner[0], corner[2]], codes[corner[0], corner[3]]
    c, d = codes[corner[1], corner[2]], codes[corner[1], corner[3]]
    columns = len(a)
    cell = np.empty(columns, np.uint8)
    for i in range(columns):
        same = (a[i] == b[i]) & (a[i] == c[i]) & (a[i] == d[i])
        cell[i] = a[i] if same else MIXED
    for i in range(columns - 1):
        cell[i] = cell[i] if cell[i] == cell[i + 1] else MIXED
    count, begin, low, high = 0, 0, columns, 0
    for i in range(columns):
        if i + 1 == columns or cell[i + 1] != cell[i]:
            runs[count, 0], runs[count, 1], runs[count, 2] = begin, i + 1, cell[i]
            if cell[i] == MIXED:
                low, high = min(low, begin), min(i + 2, columns)
            count, begin = count + 1, i + 1
    return count, low, high


@compiled
def _between_slices(
    maps: NDArray[np.float32], pair: tuple[int, int], weights: tuple[float, float], row: int, kept: NDArray[np.float64]
) -> None:
    for k in range(len(maps)):
        a, b, line = maps[k, pair[0], row], maps[k, pair[1], row], kept[k]
        w, v = weights[0], weights[1]
        for i in range(len(a)):
            line[i] = w * a[i] + v * b[i]


@compiled
def _between_rows(
    a: NDArray[np.float64], b: NDArray[np.float64], weights: tuple[float, float], span: tuple[int, int],
    line: NDArray[np.float64],
) -> None:  # fmt: skip
    w, v = weights[0], weights[1]
    for k in range(len(a)):
        p, q, r = a[k, span[0] : span[1]], b[k, span[0] : span[1]], line[k, span[0] : span[1]]
        for i in range(len(r)):
            r[i] = w * p[i] + v * q[i]


@compiled
def _compare(
    line: NDArray[np.float64], x: Ends, span: tuple[int, int], exclusive: bool, out: NDArray[np.uint8]
) -> None:
    """Interpolate all maps between columns, and compare: with each other, or each with 0."""
    low, high, weights = x
    for i in range(span[0], span[1]):
        a, b, w, v = low[i], high[i], weights[0, i], weights[1, i]
        best, label = (-np.inf if exclusive else 0.0), 0
        for k in range(len(line)):
            value = w * line[k, a] + v * line[k, b]
            wins = value > best
            best = value if wins else best
            label = (k if exclusive else 1) if wins else label
        out[i] = label
