"""Which input samples make one output sample along an axis, and their weights.

Linear, cubic and anti-aliased interpolation differ by these tables only. Cubic is Catmull-Rom (Keys 1981, a = -1/2):
it passes through the samples and looks at four of them, with no prefilter over the whole image as splines need. Where
an axis becomes coarser its kernel is widened by the factor of shrinking, as in Pillow, so that a coarse voxel is a
weighted mean of the fine ones. A widened kernel that is sampled at voxels would shift structures by up to some
hundredths of a voxel; the weights are corrected so that constants and ramps come out exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

__all__ = ["SNAP", "AxisTaps", "axis_taps", "nearest_samples"]

SNAP = 1e-8
"""A place nearer than this to a voxel centre is on it: what is left is round-off of the two grids."""


@dataclass(frozen=True)
class AxisTaps:
    """Output sample ``i`` is ``sum(weights[t, i] * input[first[i] + t] for t)``.

    Attributes:
        first: First input sample of each output sample, ``(n,)`` int64; ``first + taps`` never leaves the input.
        weights: ``(taps, n)`` float32; each column sums to 1.
        nearest: Which tap is the nearest neighbour, ``(n,)`` int64.
    """

    first: NDArray[np.int64]
    weights: NDArray[np.float32]
    nearest: NDArray[np.int64]

    @property
    def taps(self) -> int:
        """Input samples to an output sample."""
        return len(self.weights)

    @property
    def reach(self) -> tuple[int, int]:
        """Input samples that are read: from (in), to (out)."""
        return int(self.first.min()), int(self.first.max()) + self.taps

    def mirrored(self, size: int) -> AxisTaps:
        """The same for an input of ``size`` samples in reverse order."""
        weights = np.ascontiguousarray(self.weights[::-1])
        return AxisTaps(size - self.taps - self.first, weights, self.taps - 1 - self.nearest)

    def shifted(self, start: int) -> AxisTaps:
        """The same for an input without its first ``start`` samples."""
        return AxisTaps(self.first - start, self.weights, self.nearest)


def axis_taps(size: int, places: NDArray[np.float64], *, cubic: bool = False, widen: float = 1.0) -> AxisTaps:
    """Table for one axis; beyond the border the outermost sample is repeated.

    Args:
        size: Samples of the input.
        places: Fractional input index of each output sample, ``(n,)``.
        cubic: Catmull-Rom in place of linear.
        widen: Factor by which the kernel is stretched, at least 1.

    Example:
        >>> table = axis_taps(4, np.array([0.0, 0.25, 5.0]))
        >>> table.first.tolist(), table.weights.tolist()
        ([0, 0, 2], [[1.0, 0.75, 0.0], [0.0, 0.25, 1.0]])
    """
    from isocenter.volume.turned import weigh_all

    whole = np.round(places)
    places = np.where(np.abs(places - whole) < SNAP, whole, places)
    reach = widen * (2 if cubic else 1)
    # what lies further out than this is the border's value anyway
    near = np.clip(places, -reach - 1, size + reach)
    first = np.empty(len(places), np.int64)
    weights = np.empty((len(places), ceil(2 * reach)))
    weigh_all(near, widen, cubic, first, weights)
    first, kept = _inside(size, *_trimmed(first, weights.T))
    return AxisTaps(first, kept, nearest_samples(size, places) - first)


def _trimmed(first: NDArray[np.int64], weights: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Drop outer taps that no output sample uses: nothing is computed along an axis whose samples are only copied."""
    used = np.flatnonzero(weights.any(axis=1))
    low, high = int(used[0]), int(used[-1]) + 1
    return first + low, weights[low:high]


def _inside(
    size: int, first: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Give the weights of samples beyond the border to the outermost ones."""
    taps = min(len(weights), size)
    start = np.clip(first, 0, size - taps)
    inside = np.zeros((taps, len(first)))
    samples = np.clip(first + np.arange(len(weights))[:, None], 0, size - 1)
    np.add.at(inside, (samples - start, np.arange(len(first))), weights)
    return start, inside.astype(np.float32)


def nearest_samples(size: int, places: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the input sample nearest to each place; halves go up, so that flips and crops stay exact.

    Example:
        >>> nearest_samples(3, np.array([-4.0, 0.5, 0.7, 9.0])).tolist()
        [0, 1, 1, 2]
    """
    return np.clip(np.floor(places + (0.5 + 1e-9)).astype(np.int64), 0, size - 1)
