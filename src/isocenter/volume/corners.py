"""Kernels of `isocenter.volume.classmaps`: the class of each sample, of each cell, and of each voxel.

Linear interpolation is a weighted mean, so a class that is the largest at all eight corners of a cell is the largest
everywhere in it: such cells, nearly all of an image, are filled without computing anything. `rank` writes the largest
class of each sample, but `MIXED` where the two largest are so close that round-off could order them either way. A cell
is filled only if its eight corners have the same class and no mark; therefore the labels are exactly those that
interpolating everywhere gives.

Why this holds with rounding: an interpolated value is a sum over the corners of weight (not negative, the same for all
classes) times value, each term rounded at most 6 times. So it is the exact sum of corner values that are changed by
less than 6 u each (u = 2**-24), and a class that exceeds another at every corner by more than 12 u = 7.2e-7 of the
larger magnitude of the two still exceeds it after rounding. `rank` asks for 1e-6.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isocenter.volume.compiled import compiled

__all__ = ["MIXED", "Ends", "decide", "rank", "sign"]

MIXED = 255
GAP = np.float32(1e-6)
TINY = np.float32(1e-30)  # far above what underflow could hide
NEAR = 8  # cells: mixed stretches nearer than this are computed as one

Ends = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Of each output index: its two samples, the same twice where one suffices, and their weights ``(2, n)``."""


@compiled
def rank(
    flat: NDArray[np.float32], steps: tuple[int, int, int], kept: NDArray[np.float32], codes: NDArray[np.uint8],
    at: int, start: int, stop: int,
) -> None:  # fmt: skip
    """Copy rows ``start`` to ``stop``, counted over all slices, and write their largest classes, from slice ``at``."""
    classes, _, rows, width = kept.shape
    best, second = np.empty(width, np.float32), np.empty(width, np.float32)
    label = np.empty(width, np.int32)
    for number in range(start, stop):
        z, y = number // rows, number % rows
        for i in range(width):
            best[i] = second[i] = -np.inf
            label[i] = 0
        for k in range(classes):
            place = k * steps[0] + z * steps[1] + y * steps[2]
            row, copy = flat[place : place + width], kept[k, at + z, y]
            for i in range(width):
                v = row[i]
                copy[i] = v
                wins = v > best[i]
                second[i] = best[i] if wins else (v if v > second[i] else second[i])
                label[i] = k if wins else label[i]
                best[i] = v if wins else best[i]
        line = codes[0, at + z, y]
        for i in range(width):
            size = max(abs(best[i]), abs(second[i]))
            line[i] = label[i] if best[i] - second[i] > GAP * size + TINY else MIXED


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
                line[i] = 1 if TINY < v < np.inf else (0 if v <= 0 else MIXED)


@compiled
def decide(
    maps: NDArray[np.float32], codes: NDArray[np.uint8], ends: tuple[Ends, Ends, Ends], bounds: NDArray[np.int64],
    how: tuple[bool, bool], out: NDArray[np.uint8], start: int, stop: int,
) -> None:  # fmt: skip
    """Labels of output rows ``start`` to ``stop``, counted over all slices; column cell ``c`` is from bounds[c]."""
    (z, y, x), (exclusive, skip) = ends, how
    rows, width, cells = out.shape[1], out.shape[2], len(bounds) - 1
    cell = np.full(cells, MIXED, np.uint8)
    label = np.empty(width, np.int32)
    scratch = (np.empty(cells, np.float32), np.empty(width, np.float32), label)
    seen = (-1, -1, -1, -1)
    for number in range(start, stop):
        k, j = number // rows, number % rows
        corner = (z[0][k], z[1][k], y[0][j], y[1][j])
        if skip and corner != seen:
            _agree(codes, corner, cell)
            seen = corner
        a, b, c, d = z[2][0, k], z[2][1, k], y[2][0, j], y[2][1, j]
        row, low = out[k, j], 0
        while low < cells:
            code, high = cell[low], low + 1
            while high < cells and cell[high] == code:
                high += 1
            if code == MIXED:
                high = _stretch(cell, high)
                shares = (a * c, a * d, b * c, b * d)
                _compare(maps, corner, shares, x, (low, high), bounds, exclusive, scratch)
                for i in range(bounds[low], bounds[high]):
                    row[i] = label[i]
            else:
                for i in range(bounds[low], bounds[high]):
                    row[i] = code
            low = high


@compiled
def _agree(codes: NDArray[np.uint8], corner: tuple[int, int, int, int], cell: NDArray[np.uint8]) -> None:
    """Class of each cell between columns ``c`` and ``c + 1`` whose eight corners agree, else `MIXED`."""
    a, b = codes[corner[0], corner[2]], codes[corner[0], corner[3]]
    c, d = codes[corner[1], corner[2]], codes[corner[1], corner[3]]
    for i in range(len(cell)):
        same = (a[i] == b[i]) & (a[i] == c[i]) & (a[i] == d[i])
        cell[i] = a[i] if same else MIXED
    for i in range(len(cell) - 1):
        cell[i] = cell[i] if cell[i] == cell[i + 1] else MIXED


@compiled
def _stretch(cell: NDArray[np.uint8], high: int) -> int:
    """End of a mixed stretch that ends at ``high``, with what is mixed soon after it."""
    for i in range(high, min(high + NEAR, len(cell))):
        if cell[i] == MIXED:
            high = i + 1
    return high


@compiled
def _compare(
    maps: NDArray[np.float32], corner: tuple[int, int, int, int], shares: tuple[float, float, float, float], x: Ends,
    span: tuple[int, int], bounds: NDArray[np.int64], exclusive: bool,
    scratch: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]],
) -> None:  # fmt: skip
    """Interpolate all maps in a span of cells, and compare: with each other, or each with 0."""
    (low, high), (line, best, label) = span, scratch
    start, stop = bounds[low], bounds[high]
    for i in range(start, stop):
        best[i] = -np.inf if exclusive else 0
        label[i] = 0
    for k in range(len(maps)):
        a, b = maps[k, corner[0], corner[2]], maps[k, corner[0], corner[3]]
        c, d = maps[k, corner[1], corner[2]], maps[k, corner[1], corner[3]]
        for i in range(low, min(high + 1, len(a))):
            line[i] = shares[0] * a[i] + shares[1] * b[i] + shares[2] * c[i] + shares[3] * d[i]
        for i in range(start, stop):
            v = x[2][0, i] * line[x[0][i]] + x[2][1, i] * line[x[1][i]]
            if v > best[i]:
                best[i] = v
                label[i] = k if exclusive else 1
