"""Files that outline structures of a DICOM series, read as labels under the schema of a dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isocenter.errors import LabelError
from isocenter.records import LabelSchema
from isocenter.volume import Grid, Volume

if TYPE_CHECKING:
    from isocenter.io.dicom.rtstruct import ContourPolicy

__all__ = ["Drawn", "DrawnLabels", "DrawnMasks", "contour_policy"]


def contour_policy() -> ContourPolicy:
    """A couch or a body may reach out of the images: what they show of it is right all the same."""
    from isocenter.io.dicom.rtstruct import ContourPolicy

    return ContourPolicy(outside="clip")


@dataclass(frozen=True)
class Drawn:
    """What one file says of one series.

    Attributes:
        file: Its path.
        schema: The structures that are taken from it.
        contours: It is a structure set, not a segmentation.
    """

    file: str
    schema: LabelSchema
    contours: bool = False

    def masks(self, grid: Grid) -> tuple[Volume, LabelSchema]:
        """One mask a structure."""
        from isocenter.io.dicom import read_seg
        from isocenter.io.dicom.rtstruct import read_rtstruct

        if self.contours:
            return read_rtstruct(self.file, grid=grid, structures=self.schema.names, policy=contour_policy())[:2]
        return read_seg(self.file, grid=grid)[:2]

    def labels(self, grid: Grid) -> tuple[Volume, LabelSchema]:
        """One label map.

        Raises:
            LabelError: Structures overlap.
        """
        from isocenter.io.dicom import read_seg_labels
        from isocenter.io.dicom.rtstruct import read_rtstruct_labels

        if self.contours:
            return read_rtstruct_labels(self.file, grid=grid, structures=self.schema.names, policy=contour_policy())[:2]
        return read_seg_labels(self.file, grid=grid)[:2]


@dataclass(frozen=True)
class _Reader:
    drawn: tuple[Drawn, ...]
    schema: LabelSchema
    target: Callable[[], Grid]

    @property
    def files(self) -> tuple[str, ...]:
        """Paths, by whose content the cache knows it."""
        return tuple(one.file for one in self.drawn)


@dataclass(frozen=True)
class DrawnLabels(_Reader):
    """Reads files as one label map under ``schema``, on the grid of their image."""

    def __call__(self) -> Volume:
        """The label map.

        Raises:
            LabelError: Structures overlap.
        """
        grid = self.target()
        out = np.zeros((1, *grid.shape), np.uint8 if len(self.schema) < 256 else np.uint16)
        for drawn in self.drawn:
            volume, own = drawn.labels(grid)
            table = np.zeros(1 + max(own.values, default=0), out.dtype)
            for structure in own.structures:
                table[structure.values[0]] = self.schema[structure.name].values[0]
            values = table[volume.array]
            if (out[values > 0] > 0).any():
                raise LabelError(f"{drawn.file}: its structures overlap those of another file on the same series")
            out += values
        return Volume(out, grid, "label")


@dataclass(frozen=True)
class DrawnMasks(_Reader):
    """Reads files as masks under ``schema``, on the grid of their image."""

    def __call__(self) -> Volume:
        """Masks ``(structure, slice, row, column)``."""
        grid = self.target()
        out = np.zeros((len(self.schema), *grid.shape), np.uint8)
        for drawn in self.drawn:
            volume, own = drawn.masks(grid)
            for name, mask in zip(own.names, volume.array, strict=True):
                out[self.schema.names.index(name)] |= mask
        return Volume(out, grid, "label")
