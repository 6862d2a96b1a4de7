"""Changes of values applied to the planes of a patch.

Planes are changed one after the other while they are in the processor's cache: noise, blur and resolution, with the
statistics that contrast and gamma need, in a first pass; the power of gamma, with its own statistics, in a second; and
one multiplication and addition, which is contrast, brightness and the rest of gamma together, in a last. A pass without
work is left out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from isocenter.volume.compiled import in_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from isocenter.augment.intensity import IntensityChange

__all__ = ["Planes"]

CACHED = 2**15
"""Voxels that are worked on at once."""
FLAT = 1e-6
"""An image whose values differ by less has no shape for gamma to bend."""


class Planes:
    """Planes ``(plane, row, column)`` that are changed in place."""

    def __init__(self, planes: NDArray[np.float32], threads: int | None) -> None:
        self.planes = planes
        self.threads = threads

    def change(self, change: IntensityChange) -> None:
        """See `IntensityChange`."""
        from isocenter.augment.values import rescale

        # resolution mixes values linearly with weights of sum 1, so contrast and brightness may follow it
        before, after = self._first_pass(change)
        factor = change.contrast
        offset = change.brightness + (before.mean * (1 - factor) if before else 0.0)
        if after and (after.high - after.low) * factor >= FLAT:
            bent = self._bend(after, change.gamma)
            mean, factor = after.mean * factor + offset, after.deviation * factor / max(bent.deviation, FLAT)
            offset = mean - bent.mean * factor
        if (factor, offset) != (1.0, 0.0):
            self._each(lambda a, b: rescale(self.planes, np.float32(factor), np.float32(offset), a, b))

    def _first_pass(self, change: IntensityChange) -> tuple[_Statistics | None, _Statistics | None]:
        """Noise, blur and resolution; statistics before and after resolution, where contrast and gamma need them."""
        from isocenter.augment import values

        planes = self.planes
        work: list[Callable[[int, int], None]] = []
        found: list[NDArray[np.float64] | None] = [None, None]

        def measure(k: int) -> None:
            into = found[k] = np.empty((len(planes), 4))
            work.append(lambda a, b: values.statistics(planes, into, a, b))

        if change.noise:
            deviation, key = np.float32(change.noise), np.uint64(change.key)
            work.append(lambda a, b: values.add_noise(planes, deviation, key, a, b))
        if change.blur >= 0.2:
            down, along = (_gaussian(change.blur, n) for n in planes.shape[1:])
            work.append(lambda a, b: values.blur(planes, down, along, a, b))
        if change.contrast != 1:
            measure(0)
        if change.low_resolution > 1:
            rows, columns = (min(n, max(2, round(n / change.low_resolution))) for n in planes.shape[1:])
            work.append(lambda a, b: values.coarsen(planes, rows, columns, a, b))
        if change.gamma != 1:
            measure(1)
        self._each(*work)
        before, after = (None if f is None else _Statistics(f, planes[0].size) for f in found)
        return before, after

    def _bend(self, found: _Statistics, gamma: float) -> _Statistics:
        from isocenter.augment.values import bend, statistics

        low, high, exponent = np.float32(found.low), np.float32(found.high), np.float32(gamma)
        into = np.empty((len(self.planes), 4))
        self._each(
            lambda a, b: bend(self.planes, low, high, exponent, a, b),
            lambda a, b: statistics(self.planes, into, a, b),
        )
        return _Statistics(into, self.planes[0].size)

    def _each(self, *work: Callable[[int, int], None]) -> None:
        """All of ``work`` on a few planes, then on the next few."""
        few = max(1, CACHED // self.planes[0].size)

        def part(start: int, stop: int) -> None:
            for first in range(start, stop, few):
                for one in work:
                    one(first, min(first + few, stop))

        if work:
            in_parts(part, len(self.planes), threads=self.threads)


class _Statistics:
    """Of all planes together; ``found`` as `isocenter.augment.values.statistics` gives it."""

    def __init__(self, found: NDArray[np.float64], voxels: int) -> None:
        n = len(found) * voxels
        total, square = math.fsum(found[:, 0]), math.fsum(found[:, 1])
        self.mean = total / n
        self.deviation = math.sqrt(max(square - total * self.mean, 0.0) / max(n - 1, 1))
        self.low, self.high = float(found[:, 2].min()), float(found[:, 3].max())


def _gaussian(sigma: float, size: int) -> NDArray[np.float32]:
    """Odd kernel of sum 1 that reaches three sigmas, and less far than the plane."""
    reach = min(max(1, int(3 * sigma + 0.5)), size - 1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
    return kernel
