"""The structures of a label map or of masks, one by one, each inside its bounding box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isocenter.postprocess import bounding_box
from isocenter.records import LabelError, LabelMap, Masks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from isocenter.records import Prediction, Structure
    from isocenter.volume import Grid, Volume

__all__ = ["Layer", "Part", "layers_of", "parts_of"]


@dataclass(frozen=True)
class Layer:
    """A label map or masks, read: ``(1 or structure, slice, row, column)`` on its grid."""

    annotation: LabelMap | Masks
    volume: Volume


@dataclass(frozen=True)
class Part:
    """One structure of a prediction.

    Attributes:
        structure: Which.
        start: Index of the first voxel of ``mask`` in the grid of the label map.
        mask: Its voxels in its bounding box; ``None`` where the structure is empty.
        grid: Where the voxels of ``mask`` are.
    """

    structure: Structure
    start: tuple[int, int, int]
    mask: NDArray[np.bool_] | None
    grid: Grid

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """Where ``mask`` lies in the whole grid."""
        a, b, c = (slice(i, i + n) for i, n in zip(self.start, self.grid.shape, strict=True))
        return a, b, c


def layers_of(prediction: Prediction) -> tuple[Layer, ...]:
    """Every label map and set of masks of a prediction, read once."""
    found = [a for a in prediction.annotations if isinstance(a, LabelMap | Masks)]
    return tuple(Layer(a, a.read()) for a in found)


def parts_of(layer: Layer) -> Iterator[Part]:
    """The structures of a layer in the order of its schema.

    Raises:
        LabelError: The number of masks is not the number of structures.
    """
    schema, volume = layer.annotation.schema, layer.volume
    if isinstance(layer.annotation, Masks):
        if len(volume.array) != len(schema):
            raise LabelError(f"{len(volume.array)} masks do not fit a schema of {len(schema)} structures")
        for structure, channel in zip(schema.structures, volume.array, strict=True):
            yield _part(structure, channel != 0, (0, 0, 0), volume.grid)
        return
    labels = volume.array[0]
    boxes = _value_boxes(labels)
    for structure in schema.structures:
        own = [boxes[value] for value in structure.values if value in boxes]
        if not own:
            yield Part(structure, (0, 0, 0), None, volume.grid)
            continue
        box = tuple(slice(min(b[i].start for b in own), max(b[i].stop for b in own)) for i in range(3))
        start = (box[0].start, box[1].start, box[2].start)
        yield _part(structure, np.isin(labels[box], structure.values), start, volume.grid)


def _value_boxes(labels: NDArray[Any]) -> Mapping[int, tuple[slice, ...]]:
    from scipy import ndimage

    whole = labels if np.issubdtype(labels.dtype, np.integer) else labels.astype(np.int32)
    return {value: box for value, box in enumerate(ndimage.find_objects(whole), start=1) if box is not None}


def _part(structure: Structure, mask: NDArray[np.bool_], start: tuple[int, int, int], grid: Grid) -> Part:
    box = bounding_box(mask)
    if box is None:
        return Part(structure, start, None, grid)
    low, high = box
    inner = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    z, y, x = (a + b for a, b in zip(start, low, strict=True))
    stop = [i + n for i, n in zip((z, y, x), inner.shape, strict=True)]
    return Part(structure, (z, y, x), inner, grid.crop((z, y, x), stop))
