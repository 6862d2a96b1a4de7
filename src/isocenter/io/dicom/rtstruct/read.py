"""DICOM structure sets to masks on the grid of the images they were drawn on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from isocenter.errors import IsocenterError, LabelError, SeriesError
from isocenter.io.dicom.rtstruct.draw import ContourPolicy, Drawing
from isocenter.io.dicom.rtstruct.file import StructureSet, typed
from isocenter.io.dicom.rtstruct.roi import Roi, RtstructHeader, schema_of
from isocenter.volume import Grid, Volume

if TYPE_CHECKING:
    from pathlib import Path

    from isocenter.records import LabelSchema

__all__ = ["contour_problems", "read_rtstruct", "read_rtstruct_labels", "rtstruct_header"]

_STRICT = ContourPolicy()


def rtstruct_header(path: str | Path) -> RtstructHeader:
    """Regions and source of a structure set, without the points of its contours.

    Raises:
        FileFormatError: The file is missing or damaged.
        SeriesError: It is not a structure set.
    """
    with typed(path):
        return StructureSet.of(path).header


def read_rtstruct(
    path: str | Path,
    *,
    grid: Grid,
    structures: Sequence[str] | None = None,
    policy: ContourPolicy = _STRICT,
) -> tuple[Volume, LabelSchema, str]:
    """Masks of the closed contours of a structure set.

    A voxel belongs to a structure where its centre is inside, by the even-odd rule over all contours of its slice: so
    holes come out right whether they are given as inner contours, as ``CLOSEDPLANAR_XOR`` or by a cut ("keyhole",
    PS3.3 C.8.8.6.3), and the direction of a contour plays no part. A centre on a border belongs to one of the two
    structures that share it. Slices between contours stay empty: nothing is interpolated. Points and open lines enclose
    nothing and are left out; `rtstruct_header` names them.

    Args:
        path: The file.
        grid: Voxels of the source images, slices first: oblique, sagittal, coronal or sheared as they are.
        structures: Names of those to read; all by default.
        policy: What is allowed.

    Returns:
        Masks, uint8 0 or 1, ``(structure, slice, row, column)``; their schema, in the order of the file; and the Series
        Instance UID of the source (``""`` where it names none). A region without any contour is an empty mask.

    Raises:
        FileFormatError: The file is missing or damaged, or points are.
        SeriesError: It is not a structure set, or the structures were drawn on several series.
        GeometryError: A contour is on no slice ("off-plane") or outside the images, or two cross.
        LabelError: A name that is not in it.
    """
    with _opened(path, grid, structures, policy) as (drawing, rois, series):
        out = np.zeros((len(rois), *grid.shape), np.uint8)
        for mask, roi in zip(out, rois, strict=True):
            for place, patch in drawing.slices(roi):
                patch.view(mask[place])[...] = patch.mask
        schema = schema_of(drawing.source.header.rois, structures)
    return Volume(out, grid, "label"), schema, series


def read_rtstruct_labels(
    path: str | Path,
    *,
    grid: Grid,
    structures: Sequence[str] | None = None,
    policy: ContourPolicy = _STRICT,
) -> tuple[Volume, LabelSchema, str]:
    """Like `read_rtstruct`, as one label map: far less memory where there are many structures.

    Raises:
        LabelError: Structures overlap; use `read_rtstruct`.
        FileFormatError: See `read_rtstruct`.
        SeriesError: See `read_rtstruct`.
        GeometryError: See `read_rtstruct`.
    """
    with _opened(path, grid, structures, policy) as (drawing, rois, series):
        schema = schema_of(drawing.source.header.rois, structures)
        out = np.zeros(grid.shape, np.uint8)  # a schema has fewer than 255 structures
        for structure, roi in zip(schema.structures, rois, strict=True):
            for place, patch in drawing.slices(roi):
                view, inside = patch.view(out[place]), patch.mask > 0
                if view[inside].any():
                    raise LabelError(f"{path}: '{roi.name}' overlaps another structure; read it as masks")
                view[inside] = structure.values[0]
    return Volume(out, grid, "label"), schema, series


def contour_problems(
    path: str | Path, *, grid: Grid, structures: Sequence[str], policy: ContourPolicy = _STRICT
) -> dict[str, IsocenterError]:
    """Why `read_rtstruct` would refuse single structures, by name; empty where it reads all.

    Raises:
        FileFormatError: The file as a whole cannot be read.
        SeriesError: See `read_rtstruct`.
        LabelError: See `read_rtstruct`.
    """
    found: dict[str, IsocenterError] = {}
    with _opened(path, grid, structures, policy) as (drawing, rois, _):
        for roi in rois:
            try:
                with typed(path):
                    for _ in drawing.slices(roi):
                        pass
            except IsocenterError as error:
                found[roi.name] = error
    return found


@contextmanager
def _opened(
    path: str | Path, grid: Grid, structures: Sequence[str] | None, policy: ContourPolicy
) -> Iterator[tuple[Drawing, list[Roi], str]]:
    with typed(path):
        source = StructureSet.of(path)
        known = {roi.name: roi for roi in source.header.rois}
        unknown = [name for name in structures or () if name not in source.header.schema.names]
        if unknown:
            kinds = ", ".join(known[unknown[0]].skipped) if unknown[0] in known else ""
            why = f"has only contours that enclose nothing ({kinds})" if kinds else "is not in it"
            has = ", ".join(source.header.schema.names)
            raise LabelError(f"{path}: structure {unknown[0]!r} {why}; it has {has}")
        names = schema_of(source.header.rois, structures).names
        rois = [known[name] for name in names]
        series = tuple(dict.fromkeys(uid for roi in rois if roi.contours for uid in roi.series))
        if len(series) > 1:
            raise SeriesError(
                f"{path}: its structures were drawn on {len(series)} series ({series[0]}, {series[1]} ...); choose"
                " those of one"
            )
        yield Drawing(source, grid, policy), rois, series[0] if series else source.header.series
