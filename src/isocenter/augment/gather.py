"""Kernels that fill a patch: where each voxel comes from, and what lies there.

A row of the patch is done in steps that compilers turn into vector instructions: displacements, places, then the
values. Every row is computed by itself from its indices, so the result does not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isocenter.volume.compiled import compiled

__all__ = ["GRAIN", "Field", "linear", "nearest"]


GRAIN = 2.0**-32
"""Places are multiples of this many voxels. Sums of such numbers are exact, so that a place in a part of an image is
the place in the whole image less a whole number, bit for bit."""
_ROUND = 1.5 * 2.0**52 * GRAIN  # added and taken away again, it leaves multiples of GRAIN
BLOCK = 32
"""Rows that are done in all slices before the next: few enough that what they touch of a turned source stays cached."""


class Field(NamedTuple):
    """Displacement of a patch's voxels in voxels of the source, ready for rows.

    Attributes:
        values: ``(3, a, b, columns)`` float32, along each axis of the source: at the control points of slices (a) and
            rows (b), and already at every column; nothing (a = b = 0) for an affine map.
        first_slice: ``(slices,)``: first of the four control points that move a slice.
        slice_weights: ``(slices, 4)`` float32.
        first_row: As ``first_slice``.
        row_weights: As ``slice_weights``.
    """

    values: NDArray[np.float32]
    first_slice: NDArray[np.int64]
    slice_weights: NDArray[np.float32]
    first_row: NDArray[np.int64]
    row_weights: NDArray[np.float32]


@compiled
def _slice_field(field: Field, z: int, rows: tuple[int, int], out: NDArray[np.float32]) -> None:
    """Displacements ``(3, b, columns)`` of a slice at the control points that move some rows (first, behind last)."""
    if not out.shape[1]:
        return
    values, k, weights = field.values, field.first_slice[z], field.slice_weights
    a, b, c, d = weights[z, 0], weights[z, 1], weights[z, 2], weights[z, 3]
    for axis in range(3):
        for row in range(field.first_row[rows[0]], field.first_row[rows[1] - 1] + 4):
            for x in range(out.shape[2]):
                out[axis, row, x] = (
                    a * values[axis, k, row, x] + b * values[axis, k + 1, row, x]
                    + c * values[axis, k + 2, row, x] + d * values[axis, k + 3, row, x]
                )  # fmt: skip


@compiled
def _row_places(
    matrix: NDArray[np.float64], lines: NDArray[np.float32], field: Field, z: int, y: int, out: NDArray[np.float64]
) -> None:
    """Places ``(3, columns)`` in the source, in its voxels; ``lines`` as `_slice_field` gives them."""
    for axis in range(3):
        start, step = matrix[axis, 0] * z + matrix[axis, 1] * y + matrix[axis, 3], matrix[axis, 2]
        if lines.shape[1]:
            k, weights = field.first_row[y], field.row_weights
            a, b, c, d = weights[y, 0], weights[y, 1], weights[y, 2], weights[y, 3]
            for x in range(out.shape[1]):
                moved = a * lines[axis, k, x] + b * lines[axis, k + 1, x] + c * lines[axis, k + 2, x]
                out[axis, x] = start + step * x + ((np.float64(moved + d * lines[axis, k + 3, x]) + _ROUND) - _ROUND)
        else:
            for x in range(out.shape[1]):
                out[axis, x] = start + step * x


@compiled
def _inside(places: NDArray[np.float64], size: tuple[int, int, int], inside: NDArray[np.bool_]) -> None:
    """Within half a voxel of the outermost centres."""
    inside[:] = True
    for axis in range(3):
        end = size[axis] - 0.5
        for x in range(inside.size):
            inside[x] &= (places[axis, x] >= -0.5) & (places[axis, x] < end)


@compiled
def _cells(
    places: NDArray[np.float64], size: tuple[int, int, int], index: NDArray[np.int64], share: NDArray[np.float32]
) -> bool:
    """Flat index of the voxel before each place and the share of the next along each axis; False if slices stay whole.

    The last cell is used up to its far end, so that the next voxel always exists.
    """
    index[:] = 0
    for axis in range(3):
        most, last = size[axis] - 1.0, np.int64(max(size[axis] - 2, 0))
        for x in range(index.size):
            place = min(max(places[axis, x], 0.0), most)
            whole = min(np.int64(place), last)
            share[axis, x] = place - whole
            index[x] = index[x] * size[axis] + whole
    between = False
    for x in range(index.size):
        between |= share[0, x] != 0
    return between


@compiled
def _blend(
    source: NDArray[np.float32], where: tuple[int, int, int], steps: tuple[int, int, int],
    index: NDArray[np.int64], share: NDArray[np.float32], out: NDArray[np.float32],
) -> None:  # fmt: skip
    """Linear between the eight voxels of a cell, for the row ``where`` (channel, slice, row) of the patch."""
    channel, z, y = where
    # unsigned, so that the compiler need not ask whether an index is counted from the end
    on, down, right = np.uint64(steps[0]), np.uint64(steps[1]), np.uint64(steps[2])
    for x in range(index.size):
        i = np.uint64(index[x])
        j, k = i + down, i + on
        m = k + down
        a, b, c, d = source[channel, i], source[channel, j], source[channel, k], source[channel, m]
        a += share[2, x] * (source[channel, i + right] - a)
        b += share[2, x] * (source[channel, j + right] - b)
        c += share[2, x] * (source[channel, k + right] - c)
        d += share[2, x] * (source[channel, m + right] - d)
        a += share[1, x] * (b - a)
        c += share[1, x] * (d - c)
        out[channel, z, y, x] = a + share[0, x] * (c - a)


@compiled
def _blend_rows(
    source: NDArray[np.float32], where: tuple[int, int, int], steps: tuple[int, int, int],
    index: NDArray[np.int64], share: NDArray[np.float32], out: NDArray[np.float32],
) -> None:  # fmt: skip
    """As `_blend`, where the slices of the patch are slices of the source: linear between four voxels."""
    channel, z, y = where
    down, right = np.uint64(steps[1]), np.uint64(steps[2])
    for x in range(index.size):
        i = np.uint64(index[x])
        j = i + down
        a, b = source[channel, i], source[channel, j]
        a += share[2, x] * (source[channel, i + right] - a)
        b += share[2, x] * (source[channel, j + right] - b)
        out[channel, z, y, x] = a + share[1, x] * (b - a)


@compiled
def linear(
    source: NDArray[np.float32], size: tuple[int, int, int], matrix: NDArray[np.float64], field: Field,
    outside: NDArray[np.float32], out: NDArray[np.float32], start: int, stop: int,
) -> None:  # fmt: skip
    """Slices ``start`` to ``stop`` of a patch, linear.

    Args:
        source: ``(channel, voxel)``.
        size: Slices, rows and columns of the source.
        matrix: ``(3, 4)``, from patch index to source index, in multiples of `GRAIN`.
        field: Added to those indices.
        outside: One value for what lies beyond the source, or none to repeat the border.
        out: ``(channel, slice, row, column)``.
        start: First slice.
        stop: Behind the last.
    """
    columns = out.shape[3]
    of_slice = np.empty((3, field.values.shape[2], columns), np.float32)
    places = np.empty((3, columns), np.float64)
    index = np.empty(columns, np.int64)
    share = np.empty((3, columns), np.float32)
    inside = np.empty(columns, np.bool_)
    # an axis of one voxel has no next one
    steps = (size[1] * size[2] * (size[0] > 1), size[2] * (size[1] > 1), 1 * (size[2] > 1))
    for turn in range((out.shape[2] + BLOCK - 1) // BLOCK * (stop - start)):
        z = start + turn % (stop - start)
        first = turn // (stop - start) * BLOCK
        last = min(first + BLOCK, out.shape[2])
        _slice_field(field, z, (first, last), of_slice)
        for y in range(first, last):
            _row_places(matrix, of_slice, field, z, y, places)
            between = _cells(places, size, index, share)
            if outside.size:
                _inside(places, size, inside)
            for channel in range(out.shape[0]):
                if between:
                    _blend(source, (channel, z, y), steps, index, share, out)
                else:
                    _blend_rows(source, (channel, z, y), steps, index, share, out)
                if outside.size:
                    for x in range(columns):
                        out[channel, z, y, x] = out[channel, z, y, x] if inside[x] else outside[0]


@compiled
def nearest(
    source: NDArray[Any], size: tuple[int, int, int], matrix: NDArray[np.float64], field: Field,
    outside: NDArray[Any], out: NDArray[Any], start: int, stop: int,
) -> None:  # fmt: skip
    """As `linear`, but the voxel whose centre is nearest; ``source``, ``outside`` and ``out`` of one type."""
    columns = out.shape[3]
    of_slice = np.empty((3, field.values.shape[2], columns), np.float32)
    places = np.empty((3, columns), np.float64)
    index = np.empty(columns, np.int64)
    inside = np.empty(columns, np.bool_)
    for turn in range((out.shape[2] + BLOCK - 1) // BLOCK * (stop - start)):
        z = start + turn % (stop - start)
        first = turn // (stop - start) * BLOCK
        last = min(first + BLOCK, out.shape[2])
        _slice_field(field, z, (first, last), of_slice)
        for y in range(first, last):
            _row_places(matrix, of_slice, field, z, y, places)
            index[:] = 0
            for axis in range(3):
                most = size[axis] - 1.0
                for x in range(columns):
                    place = min(max(np.floor(places[axis, x] + 0.5), 0.0), most)
                    index[x] = index[x] * size[axis] + np.int64(place)
            if outside.size:
                _inside(places, size, inside)
            for channel in range(out.shape[0]):
                for x in range(columns):
                    out[channel, z, y, x] = source[channel, np.uint64(index[x])]
                if outside.size:
                    for x in range(columns):
                        out[channel, z, y, x] = out[channel, z, y, x] if inside[x] else outside[0]
