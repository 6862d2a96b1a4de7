"""Frames of a segmentation: of which segment, and where in the patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import FileFormatError, GeometryError, SeriesError
from isocenter.volume import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isocenter.io.dicom.header import Header

__all__ = ["EACH", "SHARED", "Frame", "Frames", "group", "items"]

_COSINE_TOLERANCE = 1e-3
SHARED, EACH = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_DAMAGE = (AttributeError, ValueError, TypeError, KeyError, IndexError)


def items(tags: Mapping[str, Any], keyword: str) -> Sequence[Mapping[str, Any]]:
    """Items of a sequence; none where it is absent, empty, or not a sequence."""
    value = tags.get(keyword, ())
    return value if isinstance(value, tuple) and all(isinstance(v, Mapping) for v in value) else ()


@dataclass(frozen=True)
class Frame:
    """What a file says of one frame.

    Attributes:
        index: Its number among the frames, from 0.
        segment: Number of its segment; ``None`` in a label map.
        steps: ``(2, 3)`` mm in the patient per row, per column.
        position: ``(3,)`` centre of its first pixel, LPS mm.
    """

    index: int
    segment: int | None
    steps: NDArray[np.float64]
    position: NDArray[np.float64]


@dataclass(frozen=True)
class Frames:
    """Frames of a segmentation, from its header alone."""

    header: Header

    @cached_property
    def path(self) -> str:
        """The file, for messages."""
        return self.header.file

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows, columns of a frame."""
        return self.header.integer("Rows"), self.header.integer("Columns")

    @cached_property
    def described(self) -> tuple[Frame, ...]:
        """Every frame.

        Raises:
            SeriesError: They have no places in patient space: tiles of a slide, a radiograph.
            FileFormatError: Their number is not the one stated.
        """
        self._refuse_tiles()
        each = items(self.header.tags, EACH)
        count = self.header.integer("NumberOfFrames", 0)
        if len(each) != count:
            raise FileFormatError(
                f"{self.path}: NumberOfFrames (0028,0008) is {count}, {EACH} (5200,9230) describes {len(each)};"
                " export it again"
            )
        shared = (*items(self.header.tags, SHARED), {})[0]
        known: dict[tuple[Any, ...], NDArray[np.float64]] = {}
        try:
            return tuple(self._frame(index, item, shared, known) for index, item in enumerate(each))
        except _DAMAGE as error:
            raise SeriesError(
                f"{self.path}: a frame states no position, orientation or spacing in patient space"
                " (PlanePositionSequence (0020,9113)); only segmentations of volumes are read"
            ) from error

    def check(self, grid: Grid | None) -> None:
        """Refuse images of another frame of reference.

        Raises:
            GeometryError: ``grid`` is in another one.
        """
        frame = self.header.text("FrameOfReferenceUID")
        if grid is not None and grid.frame and frame and grid.frame != frame:
            raise GeometryError(f"{self.path}: its frame of reference is not that of the images; choose their series")

    def _refuse_tiles(self) -> None:
        organized = self.header.text("DimensionOrganizationType")
        if organized.startswith("TILED") or "ImageOrientationSlide" in self.header:
            raise SeriesError(
                f"{self.path}: DimensionOrganizationType (0020,9311) is {organized or 'absent'}, its frames are tiles"
                " of a slide; only segmentations in patient space are read"
            )

    def _frame(
        self,
        index: int,
        item: Mapping[str, Any],
        shared: Mapping[str, Any],
        known: dict[tuple[Any, ...], NDArray[np.float64]],
    ) -> Frame:
        turn = group(item, shared, "PlaneOrientationSequence")["ImageOrientationPatient"]
        spacing = group(item, shared, "PixelMeasuresSequence")["PixelSpacing"]
        if (*turn, *spacing) not in known:
            known[(*turn, *spacing)] = self._steps(turn, spacing)
        position = np.array([float(v) for v in group(item, shared, "PlanePositionSequence")["ImagePositionPatient"]])
        if position.shape != (3,) or not np.isfinite(position).all():
            raise ValueError("not a position")
        segment = group(item, shared, "SegmentIdentificationSequence").get("ReferencedSegmentNumber")
        return Frame(index, None if segment is None else int(segment), known[(*turn, *spacing)], position)

    def _steps(self, turn: Sequence[Any], spacing: Sequence[Any]) -> NDArray[np.float64]:
        across, down = np.array([float(v) for v in turn]).reshape(2, 3)
        row_mm, column_mm = (float(v) for v in spacing)
        lengths = np.array([np.linalg.norm(across), np.linalg.norm(down), 1 + across @ down])
        if not np.abs(lengths - 1).max() <= _COSINE_TOLERANCE:  # so that a NaN is refused too
            raise GeometryError(
                f"{self.path}: ImageOrientationPatient (0020,0037) is {[float(v) for v in turn]}, not two perpendicular"
                " unit vectors; export it again"
            )
        if not 0 < min(row_mm, column_mm) <= max(row_mm, column_mm) < np.inf:
            raise GeometryError(
                f"{self.path}: PixelSpacing (0028,0030) is {row_mm:g}, {column_mm:g} mm, it must be positive;"
                " export it again"
            )
        return np.stack([down * row_mm, across * column_mm])


def group(item: Mapping[str, Any], shared: Mapping[str, Any], keyword: str) -> Mapping[str, Any]:
    """First item of a functional group, of the frame or shared; empty where neither has it."""
    return (*items(item, keyword), *items(shared, keyword), {})[0]
