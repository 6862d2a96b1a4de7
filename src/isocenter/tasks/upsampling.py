"""Dense outputs on the grid of the original image: labels, or values one slice at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isocenter.errors import GeometryError
from isocenter.tasks.contract import Placement, Slab

__all__ = ["SlabUpsampler", "labels_on_target"]


def labels_on_target(
    slabs: Iterator[Slab], head: str, placement: Placement, *, exclusive: bool, threads: int | None = None
) -> NDArray[np.uint8]:
    """Labels on the target grid from slabs of class maps on the working grid.

    Maps are interpolated linearly and decided voxel by voxel in one go; values on the target grid never exist, and a
    few working slices are all that is kept (see `isocenter.volume.classmaps`).

    Args:
        slabs: In order of slices, read once.
        head: Output to read from them, ``(channel, slices, row, column)``: logits or probabilities.
        placement: The two grids.
        exclusive: The largest channel wins, the first between equal ones; otherwise every channel by itself, where it
            is above 0.
        threads: At most so many; by default one a core. Labels do not depend on it.

    Returns:
        ``(1, slice, row, column)`` numbers of channels, or ``(channel, ...)`` of 0 and 1.

    Raises:
        GeometryError: The grids are turned or sheared against each other, or slabs are missing.

    Example:
        >>> from isocenter.volume import Grid
        >>> coarse = Grid.regular((1, 1, 2), spacing_mm=(1, 1, 4))
        >>> maps = torch.tensor([[1.0, 0.0], [0.0, 3.0]]).reshape(2, 1, 1, 2)
        >>> placement = Placement(coarse, coarse.respaced((1, 1, 1)))
        >>> labels_on_target(iter([Slab(0, {"out": maps})]), "out", placement, exclusive=True).ravel().tolist()
        [0, 0, 0, 1, 1, 1, 1, 1]
    """
    from isocenter.volume.classmaps import ClassMaps  # compiled code is loaded when it is needed

    places, sizes = working_places(placement), placement.working.shape
    maps: ClassMaps | None = None
    upto = 0
    for slab in slabs:
        values = slab.outputs[head].detach().to("cpu", torch.float32).numpy()
        if slab.start != upto or values.shape[2:] != sizes[1:]:
            raise GeometryError(
                f"output {head!r}: a slab of shape {values.shape} starts at slice {slab.start}; expected one with"
                f" rows and columns {sizes[1:]} at slice {upto}"
            )
        if maps is None:
            maps = ClassMaps(len(values), places, sizes, exclusive=exclusive, threads=threads)
        maps.add(values)
        upto += values.shape[1]
    if maps is None:
        raise GeometryError(f"output {head!r}: there are no slabs to decode")
    return maps.labels()


def working_places(placement: Placement) -> list[NDArray[np.float64]]:
    """Fractional working index of every target slice, row and column; none lies beyond the outermost centres.

    Raises:
        GeometryError: The grids are turned or sheared against each other.
    """
    matrix = placement.target.index_map_to(placement.working)
    scale = np.diag(matrix)[:3]
    if not np.allclose(matrix[:3, :3], np.diag(scale), atol=1e-6) or (scale <= 0).any():
        raise GeometryError("working and target grid are turned against each other; prepare the case with its plan")
    sizes, lengths = placement.target.shape, placement.working.shape
    return [np.clip(scale[a] * np.arange(sizes[a]) + matrix[a, 3], 0, lengths[a] - 1) for a in range(3)]


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
        self.head = head
        self._places = working_places(placement)

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
