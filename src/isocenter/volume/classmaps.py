"""Class maps on one grid to labels on a finer one: interpolated and decided in one go, slab by slab."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import GeometryError
from isocenter.volume.compiled import in_parts
from isocenter.volume.corners import MIXED, Ends, decide, rank, sign
from isocenter.volume.storage import flat_view
from isocenter.volume.taps import SNAP

__all__ = ["ClassMaps"]

LEAST = 64  # rows below which a thread does not pay
SCRATCH = 12 << 20  # bytes of class maps that are kept


class ClassMaps:
    """Turns slabs of class maps, given in order, into labels on a grid that differs by scale and offset only.

    Of the maps only a few slices are kept, `SCRATCH` bytes or the two slices that are needed at least.

    Args:
        channels: Class maps.
        places: For each axis the fractional index in the maps of every output slice, row and column; growing.
        sizes: Slices, rows and columns of the maps.
        exclusive: The largest class wins, the first between equal ones: one channel of numbers 0..K-1. Otherwise each
            map by itself: 1 where it is above 0.
        skip: Fill cells whose corners agree; the labels do not depend on it.
        threads: As for `isocenter.volume.compiled.in_parts`.

    Raises:
        GeometryError: More classes than 8-bit labels can tell apart.

    Example:
        >>> maps = np.array([[1.0, 0.0], [0.0, 3.0]], np.float32).reshape(2, 1, 1, 2)
        >>> spread = ClassMaps(2, [np.zeros(1), np.zeros(1), np.linspace(0, 1, 5)], (1, 1, 2))
        >>> spread.add(maps)
        >>> spread.labels().ravel().tolist()
        [0, 0, 1, 1, 1]
    """

    def __init__(
        self,
        channels: int,
        places: Sequence[NDArray[np.float64]],
        sizes: Sequence[int],
        *,
        exclusive: bool = True,
        skip: bool = True,
        threads: int | None = None,
    ) -> None:
        if channels >= MIXED:
            raise GeometryError(f"{channels} class maps; labels of 8 bits can tell at most {MIXED - 1} apart")
        _, rows, columns = sizes
        self.exclusive, self.skip, self.threads = exclusive, skip, threads
        self._ends = [_ends(n, p) for n, p in zip(sizes, places, strict=True)]
        self._bounds = np.searchsorted(self._ends[2][0], np.arange(columns + 1))
        depth = int(np.clip(SCRATCH // (4 * channels * rows * columns), 2, sizes[0] + 1))
        self._kept = np.empty((channels, depth, rows, columns), np.float32)
        planes = 1 if exclusive else channels
        self._codes = np.empty((planes, depth, rows, columns), np.uint8)
        self._out = np.empty((planes, *(len(p) for p in places)), np.uint8)
        self._base = self._filled = self._done = 0

    def add(self, values: NDArray[np.float32]) -> None:
        """Take the next slices, ``(channel, slices, row, column)``.

        Raises:
            GeometryError: Another number of channels, rows or columns than was said.
        """
        channels, _, rows, columns = self._kept.shape
        if values.ndim != 4 or (len(values), *values.shape[2:]) != (channels, rows, columns):
            raise GeometryError(f"class maps of shape {values.shape}; expected ({channels}, slices, {rows}, {columns})")
        for start in range(0, values.shape[1], len(self._kept[0]) - 1):
            self._take(values[:, start : start + len(self._kept[0]) - 1])

    def labels(self) -> NDArray[np.uint8]:
        """All labels, ``(channel, slice, row, column)``.

        Raises:
            GeometryError: Slices are missing.
        """
        self._spread()
        if self._done < self._out.shape[1]:
            raise GeometryError(
                f"class maps end at slice {self._base + self._filled}, slice {int(self._ends[0][1][-1])} is needed"
            )
        return self._out

    def _take(self, part: NDArray[np.float32]) -> None:
        count = part.shape[1]
        if self._filled + count > self._kept.shape[1]:
            self._spread()
            keep = self._filled - 1  # the last slice is also the first of the next cells
            self._kept[:, 0], self._codes[:, 0] = self._kept[:, keep], self._codes[:, keep]
            self._base, self._filled = self._base + keep, 1
        flat, (k, z, y) = flat_view(part, ("f4",))
        kernel, at = rank if self.exclusive else sign, self._filled
        work = partial(kernel, flat, (k, z, y), self._kept, self._codes, at)
        in_parts(work, count * part.shape[2], threads=self.threads, least=LEAST)
        self._filled += count

    def _spread(self) -> None:
        """Labels of all slices that lie between the slices at hand."""
        z, y, x = self._ends
        ready = int(np.searchsorted(z[1], self._base + self._filled))
        first, self._done = self._done, max(self._done, ready)
        weights = np.ascontiguousarray(z[2][:, first:ready])
        here = (z[0][first:ready] - self._base, z[1][first:ready] - self._base, weights)
        for plane, codes in enumerate(self._codes):
            maps = self._kept if self.exclusive else self._kept[plane : plane + 1]
            out = self._out[plane, first:ready]
            work = partial(decide, maps, codes, (here, y, x), self._bounds, (self.exclusive, self.skip), out)
            in_parts(work, len(out) * out.shape[1], threads=self.threads, least=LEAST)


def _ends(size: int, places: NDArray[np.float64]) -> Ends:
    """The two samples of each place, the same twice where one suffices, and their weights; the border is repeated."""
    places = np.clip(places, 0, size - 1)
    whole = np.round(places)
    places = np.where(np.abs(places - whole) < SNAP, whole, places)
    low = np.floor(places).astype(np.int64)
    share = places - low
    return low, low + (share > 0), np.stack([1 - share, share])
