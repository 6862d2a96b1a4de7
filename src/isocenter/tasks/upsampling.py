"""Dense outputs on the grid of the original image, one slice at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from isocenter.errors import GeometryError
from isocenter.tasks.contract import Placement, Slab

__all__ = ["SlabUpsampler"]


class SlabUpsampler:
    """Linear interpolation from slabs of the working grid to slices of the target grid.

    Working and target grid differ by scale and offset of each axis only, so a target slice needs two working slices;
    nothing else is kept. Iterating gives ``(slice of the target, values (channel, row, column))`` in order.

    Args:
        head: Output to read from the slabs.
        placement: The two grids.

    Raises:
        GeometryError: The grids are turned or sheared against each other.
    """

    def __init__(self, head: str, placement: Placement) -> None:
        matrix = placement.target.index_map_to(placement.working)
        scale = np.diag(matrix)[:3]
        if not np.allclose(matrix[:3, :3], np.diag(scale), atol=1e-6) or (scale <= 0).any():
            raise GeometryError("working and target grid are turned against each other; prepare the case with its plan")
        self.head = head
        sizes, lengths = placement.target.shape, placement.working.shape
        self._places = [np.clip(scale[a] * np.arange(sizes[a]) + matrix[a, 3], 0, lengths[a] - 1) for a in range(3)]

    def __call__(self, slabs: Iterator[Slab]) -> Iterator[tuple[int, Tensor]]:
        """Read the slabs once, in order."""
        kept: dict[int, Tensor] = {}
        wanted = iter(enumerate(self._places[0]))
        target = next(wanted, None)
        for slab in slabs:
            values = slab.outputs[self.head]
            for k in range(values.shape[1]):
                here = slab.start + k
                kept[here] = self._in_plane(values[:, k])
                while target is not None and int(np.ceil(target[1] - 1e-9)) <= here:
                    yield target[0], self._between(kept, float(target[1]))
                    target = next(wanted, None)
                # the slice below the next target is still needed
                kept.pop(here - 1, None)

    @staticmethod
    def _between(kept: dict[int, Tensor], place: float) -> Tensor:
        low = int(np.floor(place + 1e-9))
        share = place - low
        if share < 1e-6 or low + 1 not in kept:
            return kept[low]
        return torch.lerp(kept[low], kept[low + 1], share)

    def _in_plane(self, values: Tensor) -> Tensor:
        for axis in (1, 2):
            place = self._places[axis]
            if len(place) == values.shape[axis] and np.allclose(place, np.arange(len(place)), atol=1e-6):
                continue
            low = np.minimum(np.floor(place).astype(np.int64), max(values.shape[axis] - 2, 0))
            high = np.minimum(low + 1, values.shape[axis] - 1)
            shape = [1, 1, 1]
            shape[axis] = len(place)
            share = torch.from_numpy((place - low).astype(np.float32)).reshape(shape)
            low_values = values.index_select(axis, torch.from_numpy(low))
            values = torch.lerp(low_values, values.index_select(axis, torch.from_numpy(high)), share)
        return values
