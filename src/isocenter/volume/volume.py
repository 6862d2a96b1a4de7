"""An image on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import GeometryError
from isocenter.volume.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Unit", "Volume"]

Unit = Literal["HU", "SUVbw", "Bq/ml", "a.u.", "label", "probability"]


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxel values with their places.

    Attributes:
        array: Values, shape ``(channel, slice, row, column)``. A three-dimensional array is taken as one channel.
        grid: Where the voxels are; its shape equals ``array.shape[1:]``.
        unit: What a value means: ``"HU"``, ``"SUVbw"``, ``"Bq/ml"``, ``"a.u."`` (arbitrary, as MR), ``"label"``,
            ``"probability"``.

    Raises:
        GeometryError: The shapes of array and grid differ.

    Example:
        >>> grid = Grid.regular((2, 3, 4), spacing_mm=(5, 1, 1))
        >>> Volume(np.zeros((2, 3, 4), np.int16), grid, "HU").flip([0]).grid.orientation
        'IPL'
    """

    array: NDArray[Any]
    grid: Grid
    unit: Unit = "a.u."

    def __post_init__(self) -> None:
        array = self.array[None] if self.array.ndim == 3 else self.array
        if array.ndim != 4 or array.shape[1:] != self.grid.shape:
            raise GeometryError(
                f"array of shape {self.array.shape} does not fit a grid of shape {self.grid.shape};"
                " expected (channel, slice, row, column)"
            )
        object.__setattr__(self, "array", array)

    def crop(self, start: Sequence[int], stop: Sequence[int], *, fill: float = 0) -> Volume:
        """Part from index ``start`` (in) to ``stop`` (out); what lies outside is filled with ``fill``."""
        shape = self.grid.shape
        inner = tuple(
            slice(min(max(a, 0), n), max(min(b, n), min(max(a, 0), n)))
            for a, b, n in zip(start, stop, shape, strict=True)
        )
        widths = [(max(0, -a), max(0, b - n)) for a, b, n in zip(start, stop, shape, strict=True)]
        array = self.array[(slice(None), *inner)]
        if any(w for pair in widths for w in pair):
            if 0 in array.shape:
                raise GeometryError(f"crop {tuple(start)} to {tuple(stop)} lies outside the grid of shape {shape}")
            array = np.pad(array, [(0, 0), *widths], constant_values=fill)
        return Volume(array, self.grid.crop(start, stop), self.unit)

    def pad(self, before: Sequence[int], after: Sequence[int], *, fill: float = 0) -> Volume:
        """Add ``before`` and ``after`` voxels of value ``fill`` at the two ends of each axis."""
        stop = [n + a for n, a in zip(self.grid.shape, after, strict=True)]
        return self.crop([-b for b in before], stop, fill=fill)

    def flip(self, axes: Sequence[int]) -> Volume:
        """The same image with the index along ``axes`` (0 slice, 1 row, 2 column) running the other way."""
        grid = self.grid.flip(axes)
        array = np.flip(self.array, tuple(axis + 1 for axis in axes)) if len(axes) else self.array
        return Volume(array, grid, self.unit)

    def permute(self, order: Sequence[int]) -> Volume:
        """The same image with index axes in a new order; ``order[i]`` is the old axis that becomes axis ``i``."""
        grid = self.grid.permute(order)
        return Volume(self.array.transpose(0, *[axis + 1 for axis in order]), grid, self.unit)

    def reorient(self, orientation: str) -> Volume:
        """The same image with index axes nearest to the patient directions of ``orientation``, e.g. ``"SPL"``."""
        order, flips = self.grid.axes_to(orientation)
        return self.permute(order).flip(flips)
