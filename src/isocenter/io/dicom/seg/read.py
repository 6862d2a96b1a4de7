"""DICOM Segmentations to masks, label maps and fractions, voxel by voxel, on the source's grid."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import ConfigError, FileFormatError, LabelError, SeriesError
from isocenter.io.dicom.seg.frames import Frame, Frames, items
from isocenter.io.dicom.seg.header import SegHeader, opened, typed
from isocenter.io.dicom.seg.pixels import SegPixels
from isocenter.io.dicom.seg.place import Place, Target, own_grid
from isocenter.volume import Grid, Volume

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from isocenter.records import LabelSchema

__all__ = ["read_seg", "read_seg_fractions", "read_seg_labels"]

_MAX_BYTES = 2**33


def read_seg(
    path: str | Path,
    *,
    grid: Grid | None = None,
    structures: Sequence[str] | None = None,
    threshold: float | None = None,
) -> tuple[Volume, LabelSchema, str]:
    """Masks of a segmentation, one a segment.

    Args:
        path: The file.
        grid: Voxels of the source images: masks are placed on them. A segmentation may leave out slices without
            foreground and does not say where they were, so without ``grid`` the masks cover only the slices from the
            first to the last frame.
        structures: Names of those to read; all by default.
        threshold: Needed for a fractional one: voxels of at least this fraction, above 0 and up to 1, are inside.

    Returns:
        Masks, uint8 0 or 1, ``(structure, slice, row, column)``; their schema, value = segment number; and the
        Series Instance UID of the source (``""`` where it names none).

    Raises:
        FileFormatError: The file is missing or damaged.
        SeriesError: It is not a segmentation, or fractional without ``threshold``, or has no places in space.
        GeometryError: Its frames do not lie on the voxels of ``grid``, or on no regular grid.
        LabelError: It has no such structure.
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise ConfigError(f"threshold is {threshold:g}; a fraction above 0 and up to 1 is needed")
    with typed(path):
        seg = _Seg.open(path, grid, structures)
        if seg.head.kind == "FRACTIONAL" and threshold is None:
            raise SeriesError(
                f"{path}: SegmentationType (0062,0001) is FRACTIONAL; give threshold=0.5 for masks, or take its"
                " fractions with read_seg_fractions"
            )
        out = seg.empty(np.uint8)
        for number, mask, place in seg.masks(threshold or 1.0):
            view = place.view(out[seg.rows[number]])
            np.maximum(view, mask, out=view)
    return Volume(out, seg.target.grid, "label"), seg.head.schema, seg.head.series


def read_seg_fractions(
    path: str | Path, *, grid: Grid | None = None, structures: Sequence[str] | None = None
) -> tuple[Volume, LabelSchema, str]:
    """Like `read_seg`, as the fractions that a fractional segmentation states; others give 0 and 1.

    Returns:
        Fractions, float32 in 0..1 of unit ``"probability"``, ``(structure, slice, row, column)``. Whether they are
        probabilities or say which part of a voxel is inside, `seg_header` tells. The rest as `read_seg`.

    Raises:
        FileFormatError: See `read_seg`; also values above the maximum that the file states.
        SeriesError: See `read_seg`.
        GeometryError: See `read_seg`.
        LabelError: See `read_seg`.
    """
    with typed(path):
        seg = _Seg.open(path, grid, structures)
        out = seg.empty(np.float32)
        for number, fraction, place in seg.fractions():
            view = place.view(out[seg.rows[number]])
            np.maximum(view, fraction, out=view)
    return Volume(out, seg.target.grid, "probability"), seg.head.schema, seg.head.series


def read_seg_labels(path: str | Path, *, grid: Grid | None = None) -> tuple[Volume, LabelSchema, str]:
    """Like `read_seg`, as one label map of segment numbers: far less memory where there are many structures.

    Raises:
        LabelError: Segments overlap; use `read_seg`.
        FileFormatError: See `read_seg`.
        SeriesError: See `read_seg`; also a fractional one, which says no label.
        GeometryError: See `read_seg`.
    """
    with typed(path):
        seg = _Seg.open(path, grid, None)
        if seg.head.kind == "FRACTIONAL":
            raise SeriesError(
                f"{path}: SegmentationType (0062,0001) is FRACTIONAL, which says no label; read it as masks with"
                " read_seg(..., threshold=0.5)"
            )
        highest = max(seg.rows, default=0)
        out = seg.empty(np.uint8 if highest < 256 else np.uint16, channels=1)
        for number, mask, place in seg.masks(1.0):
            view = place.view(out[0])
            if np.logical_and(view, mask).any():
                raise LabelError(f"{path}: segment {number} overlaps another; read it as masks")
            np.copyto(view, number, where=mask.view(bool))
    return Volume(out, seg.target.grid, "label"), seg.head.schema, seg.head.series


@dataclass(frozen=True)
class _Seg:
    """A segmentation that is about to be read onto ``target``; ``rows`` gives the channel of a segment number."""

    head: SegHeader
    frames: Frames
    pixels: SegPixels
    target: Target
    rows: dict[int, int]
    described: Collection[int]

    @staticmethod
    def open(path: str | Path, grid: Grid | None, structures: Sequence[str] | None) -> _Seg:
        head, header = opened(path)
        pixels, frames = SegPixels(header, head.kind), Frames(header)
        described = {int(item["SegmentNumber"]) for item in items(header.tags, "SegmentSequence")}
        frames.check(grid)
        if structures is not None:
            head = replace(head, schema=_chosen(head.schema, structures))
        rows = {structure.values[0]: i for i, structure in enumerate(head.schema.structures)}
        return _Seg(head, frames, pixels, Target(frames, grid or own_grid(frames)), rows, described)

    def empty(self, dtype: DTypeLike, channels: int | None = None) -> NDArray[Any]:
        shape = (len(self.rows) if channels is None else channels, *self.target.grid.shape)
        need = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if need > _MAX_BYTES:
            raise LabelError(
                f"{self.head.file}: {shape[0]} structures of {' x '.join(map(str, shape[1:]))} voxels need"
                f" {need / 2**30:.1f} GiB, at most {_MAX_BYTES >> 30} are taken at once; name fewer structures, or take"
                " read_seg_labels"
            )
        return np.zeros(shape, dtype)

    def masks(self, threshold: float) -> Iterator[tuple[int, NDArray[np.uint8], Place]]:
        """Segment number, mask 0 or 1 and place of every frame and segment with foreground."""
        if self.head.kind == "LABELMAP":
            yield from self._labels()
            return
        least = threshold * self._top if self.head.kind == "FRACTIONAL" else 1
        for frame, number, pixels in self._segments():
            mask = pixels if self.pixels.bits == 1 else (pixels >= least).view(np.uint8)
            if mask.any():
                yield number, mask, self.target.place(frame)

    def fractions(self) -> Iterator[tuple[int, NDArray[Any], Place]]:
        """Like `masks`, float32."""
        if self.head.kind != "FRACTIONAL":
            yield from self.masks(1.0)
            return
        table = (np.arange(self._top + 1) / self._top).astype(np.float32)
        for frame, number, pixels in self._segments():
            if pixels.any():
                yield number, table[pixels], self.target.place(frame)

    @property
    def _top(self) -> int:
        top = self.frames.header.integer("MaximumFractionalValue")
        if not 0 < top < 256:
            raise SeriesError(f"{self.head.file}: MaximumFractionalValue (0062,000E) is {top}; export it again")
        return top

    def _segments(self) -> Iterator[tuple[Frame, int, NDArray[Any]]]:
        """Frames of the segments asked for, with their number and pixels."""
        top = self._top if self.head.kind == "FRACTIONAL" else 0
        wanted: list[tuple[Frame, int]] = []
        for frame in self.frames.described:
            if frame.segment is None or frame.segment not in self.described:
                raise self._undescribed(frame, frame.segment)
            if frame.segment in self.rows:
                wanted.append((frame, frame.segment))
        for frame, number in wanted:
            plane = self.pixels.frame(frame.index)
            if top and plane.max() > top:
                raise FileFormatError(
                    f"{self.head.file}: frame {frame.index + 1} has the value {plane.max()}, MaximumFractionalValue"
                    f" (0062,000E) is {top}; export it again"
                )
            yield frame, number, plane

    def _labels(self) -> Iterator[tuple[int, NDArray[np.uint8], Place]]:
        known = {0, self.frames.header.integer("PixelPaddingValue", 0), *self.described}
        for frame in self.frames.described:
            plane = self.pixels.frame(frame.index)
            found = set(np.flatnonzero(np.bincount(plane.ravel())).tolist())
            if not found <= known:
                raise self._undescribed(frame, min(found - known))
            wanted = sorted(found & self.rows.keys())
            for number in wanted:
                yield number, (plane == number).view(np.uint8), self.target.place(frame)

    def _undescribed(self, frame: Frame, number: int | None) -> FileFormatError:
        return FileFormatError(
            f"{self.head.file}: frame {frame.index + 1} is of segment {number}, which is not described; export it again"
        )


def _chosen(schema: LabelSchema, names: Sequence[str]) -> LabelSchema:
    """Those structures alone, in the order asked for."""
    chosen = [schema[name] for name in names]
    alone = [replace(s, mirror=s.mirror if s.mirror in names else None) for s in chosen]
    return replace(schema, structures=tuple(alone))
