"""Contours of one slice to voxels, and voxels to contours; both exact.

A voxel is inside where its centre is, by the even-odd rule. A centre on the border itself belongs to what lies towards
higher columns, on a border along a row to what lies towards higher rows: of two structures that share a border each
such voxel is in one, never in both and never in none. Points are rounded to 1/65536 of a voxel, so that noise of
the map from millimetres decides nothing; all that follows is done in whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.volume.compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["REACH", "Patch", "filled", "outlines", "united"]

_UNIT = 1 << 16
REACH = 1 << 14
"""Largest index, in voxels, that the whole numbers have room for."""


@dataclass(frozen=True)
class Patch:
    """A window of one slice: ``mask`` of 0 and 1 whose first voxel is at row and column ``low``."""

    low: tuple[int, int]
    mask: NDArray[np.uint8]

    @property
    def high(self) -> tuple[int, int]:
        """Row and column behind the last."""
        return self.low[0] + self.mask.shape[0], self.low[1] + self.mask.shape[1]

    @cached_property
    def count(self) -> int:
        """Voxels inside."""
        return int(self.mask.sum())

    def view(self, array: NDArray[Any]) -> NDArray[Any]:
        """The window of a ``(row, column)`` array."""
        return array[self.low[0] : self.high[0], self.low[1] : self.high[1]]

    def crosses(self, other: Patch) -> int:
        """0 where one lies in the other or beside it; else the voxels of the smallest of the three parts."""
        low, high = np.maximum(self.low, other.low), np.minimum(self.high, other.high)
        if (high <= low).any():
            return 0
        own, theirs = (p.mask[tuple(map(slice, low - p.low, high - p.low))] for p in (self, other))
        both = int((own & theirs).sum())
        return min(both, self.count - both, other.count - both)


def filled(points: NDArray[np.float64], shape: tuple[int, int]) -> Patch:
    """Voxels of a slice whose centres are inside a closed contour.

    Args:
        points: ``(n, 2)`` row and column indices, at most `REACH` from 0; the last is joined to the first.
        shape: Rows, columns of the slice; what lies outside is left out.

    Example:
        >>> filled(np.array([[0.5, 0.5], [0.5, 3.5], [2.5, 3.5]]), (9, 9)).mask.tolist()
        [[0, 1, 1], [0, 0, 1]]
    """
    fixed = np.rint(points * _UNIT).astype(np.int64)
    low = np.maximum(-(-fixed.min(axis=0) // _UNIT), 0)
    high = np.minimum(fixed.max(axis=0) // _UNIT + 1, shape)
    mask = np.zeros(np.maximum(high - low, 0), np.uint8)
    if mask.size:
        _fill(fixed, int(low[0]), int(low[1]), mask)
    return Patch((int(low[0]), int(low[1])), mask)


def united(patches: Sequence[Patch], *, any_of: bool = False) -> Patch:
    """Voxels that an odd number of patches holds; with ``any_of`` those that any holds."""
    low = np.min([p.low for p in patches], axis=0)
    high = np.max([p.high for p in patches], axis=0)
    out = Patch((int(low[0]), int(low[1])), np.zeros(high - low, np.uint8))
    for patch in patches:
        view = Patch((patch.low[0] - out.low[0], patch.low[1] - out.low[1]), patch.mask).view(out.mask)
        if any_of:
            view |= patch.mask
        else:
            view ^= patch.mask
    return out


def outlines(mask: NDArray[Any]) -> list[NDArray[np.float64]]:
    """Contours along the borders of voxels; `filled` and `united` give the mask back.

    Each part, connected through sides, has one contour. Holes are joined to it by a cut of no width ("keyhole", PS3.3
    C.8.8.6.3), so that readers which unite contours, and those which cut inner ones out, both get them right.

    Args:
        mask: ``(row, column)``; true where it is not 0.

    Returns:
        ``(n, 2)`` row and column indices of the corners of each; halves, since an index is a centre.

    Example:
        >>> outlines(np.array([[0, 0], [1, 1]]))[0].tolist()
        [[0.5, 1.5], [1.5, 1.5], [1.5, -0.5], [0.5, -0.5]]
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return []
    part = np.ascontiguousarray(np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] != 0, 1))
    sides = int(np.count_nonzero(part[1:] != part[:-1]) + np.count_nonzero(part[:, 1:] != part[:, :-1]))
    # at most one hole for four sides, and each adds two nodes
    corners = np.empty((sides + sides // 2 + 2, 2), np.int64)
    points, ends = _trace(part.astype(np.uint8), sides, corners)
    # corner (1, 1) is the first of the first voxel, half a voxel before its centre
    found = points + np.array([rows[0] - 1.5, columns[0] - 1.5])
    return [found[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


@compiled
def _fill(points: NDArray[np.int64], row0: int, column0: int, out: NDArray[np.uint8]) -> None:
    height, width = out.shape
    count = len(points)
    for i in range(count):
        a, b = points[i - 1 if i else count - 1], points[i]
        if a[0] > b[0]:  # the same numbers for an edge whichever way it is walked
            a, b = b, a
        rise, run = b[0] - a[0], b[1] - a[1]
        for row in range(max(-(-a[0] // _UNIT), row0), min(-(-b[0] // _UNIT), row0 + height)):
            # the first column at or behind the crossing, which is a quotient of whole numbers
            crossing = a[1] * rise + (row * _UNIT - a[0]) * run
            column = max(-(-crossing // (rise * _UNIT)) - column0, 0)
            if column < width:
                out[row - row0, column] ^= 1
    for row in range(height):
        for column in range(1, width):
            out[row, column] ^= out[row, column - 1]


@compiled
def _leaves(part: NDArray[np.uint8], i: int, j: int, way: int) -> bool:
    """Whether a side leaves corner ``(i, j)`` to the right, down, left or up (0 to 3) with the inside on its right."""
    if way == 0:
        return bool(part[i, j] > part[i - 1, j])
    if way == 1:
        return bool(part[i, j - 1] > part[i, j])
    if way == 2:
        return bool(part[i - 1, j - 1] > part[i, j - 1])
    return bool(part[i - 1, j] > part[i - 1, j - 1])


@compiled
def _nodes(
    part: NDArray[np.uint8], corners: NDArray[np.int64], ways: NDArray[np.int64], node_at: NDArray[np.int64]
) -> None:
    """One node a side, at the corner that it leaves, row by row."""
    count = 0
    for i in range(1, part.shape[0]):
        for j in range(1, part.shape[1]):
            for way in range(4):
                if _leaves(part, i, j, way):
                    corners[count, 0], corners[count, 1], ways[count] = i, j, way
                    node_at[i, j, way] = count
                    count += 1


@compiled
def _trace(
    part: NDArray[np.uint8], sides: int, corners: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Corners where the contours turn, one contour after the other, and where each ends."""
    height, width = part.shape
    node_at = np.full((height, width, 4), -1, np.int64)
    ways = np.empty(sides, np.int64)
    _nodes(part, corners, ways, node_at)
    step = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])
    after = np.empty(len(corners), np.int64)
    for node in range(sides):
        i, j = corners[node, 0] + step[ways[node], 0], corners[node, 1] + step[ways[node], 1]
        # where two voxels touch in a corner only, a turn to the right stays with one of them
        for turn in (1, 0, 3):
            following = node_at[i, j, (ways[node] + turn) % 4]
            if following >= 0:
                after[node] = following
                break
    total = sides
    seen = np.zeros(len(corners), np.bool_)
    starts = np.empty(sides, np.int64)
    loops = 0
    for node in range(sides):
        if seen[node]:
            continue
        last = node
        while not seen[last]:
            seen[last] = True
            if after[last] == node:
                break
            last = after[last]
        if ways[node] == 0:  # its first corner is the upper left one of a voxel inside
            starts[loops] = node
            loops += 1
            continue
        # a hole: cut from its first corner to the left, where a contour that was begun before it is met
        i, j = corners[node, 0], corners[node, 1] - 1
        while node_at[i, j].max() < 0:
            j -= 1
        met = node_at[i, j].max()
        corners[total], corners[total + 1] = corners[node], corners[met]
        after[last], after[total], after[total + 1] = total, total + 1, after[met]
        after[met] = node
        total += 2
    return _turns(corners, after, starts[:loops], total)


@compiled
def _turns(
    corners: NDArray[np.int64], after: NDArray[np.int64], starts: NDArray[np.int64], total: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    points = np.empty((total, 2), np.int64)
    ends = np.empty(len(starts), np.int64)
    count = 0
    for loop in range(len(starts)):
        before, node = starts[loop], after[starts[loop]]
        while True:
            following = after[node]
            come, go = corners[node] - corners[before], corners[following] - corners[node]
            if np.sign(come[0]) != np.sign(go[0]) or np.sign(come[1]) != np.sign(go[1]):
                points[count] = corners[node]
                count += 1
            before, node = node, following
            if before == starts[loop]:
                break
        ends[loop] = count
    return points[:count], ends
