"""What is drawn on images, a DICOM segmentation or contours, to label maps on their grids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import GeometryError, LabelError, SeriesError
from isocenter.io.files import write_json
from isocenter.io.nifti import write_nifti
from isocenter.volume import Volume
from isocenter.workflow.writing import ROWS, Written, rounded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isocenter.io.dicom import Series
    from isocenter.records import LabelSchema
    from isocenter.volume import Grid
    from isocenter.workflow.filenames import FileNames
    from isocenter.workflow.joining import Joined

__all__ = ["DRAWN", "write_labels"]

DRAWN = ("SEG", "RTSTRUCT")
"""Modalities of objects that are drawn on images."""


def write_labels(folder: Path, names: FileNames, series: Series, file: str, images: Mapping[str, Joined]) -> Written:
    """Write a segmentation, or contours, on the grid of the image that they were drawn on.

    One label map and a JSON file that names its values; where structures overlap, one mask for each; of a fractional
    segmentation, one map of fractions for each. A segmentation whose images are not there has a grid of its own.

    Args:
        folder: Where to.
        names: Gives the file its name.
        series: That of the object.
        file: Its path.
        images: What was converted, by file name without suffix.

    Raises:
        SeriesError: None of ``images`` is the one that contours were drawn on.
        GeometryError: It does not lie on their voxels.
    """
    kind, source = _header(file, series.modality)
    name, grid = _drawn_on(file, source, images) if kind == "RTSTRUCT" or _converted(source, images) else ("", None)
    maps, schema, unit, grid = _maps(file, kind, grid)
    stem, grid = names.of(series), grid.flip([ROWS])
    files = {key: names.of(series, key) if key else stem for key in maps}
    for key, array in maps.items():
        write_nifti(folder / f"{files[key]}.nii.gz", Volume(np.flip(array, ROWS), grid, "label"))
    told: dict[str, Any] = {"image": f"{name}.nii.gz"} if name else {}
    flags = () if name else ("its images are not there: it reaches from its first to its last slice only",)
    if "" in maps:
        told["labels"] = {"background": 0, **{s.name: s.values[0] for s in schema.structures}}
    else:
        told["files"] = {f"{name}.nii.gz": key for key, name in files.items()}
    write_json(folder / f"{stem}.labels.json", told)
    number = series.headers[0].text("SeriesNumber")
    written = (*(f"{name}.nii.gz" for name in files.values()), f"{stem}.labels.json")
    return Written(written, number, series.modality, grid.shape, rounded(grid), unit, flags)


def _header(file: str, modality: str) -> tuple[str, str]:
    """Kind of the object, and Series Instance UID of the images it was drawn on."""
    from isocenter.io.dicom import seg_header
    from isocenter.io.dicom.rtstruct import rtstruct_header

    if modality == "SEG":
        head = seg_header(file)
        return head.kind, head.series
    return "RTSTRUCT", rtstruct_header(file).series


def _converted(source: str, images: Mapping[str, Joined]) -> bool:
    return bool(source) and any(image.series.uid == source for image in images.values())


def _drawn_on(file: str, source: str, images: Mapping[str, Joined]) -> tuple[str, Grid]:
    """The image it was drawn on; where the series gave several, all lie on the same voxels or it cannot be told."""
    found = [(name, image) for name, image in images.items() if source and image.series.uid == source]
    if not found:
        raise SeriesError(f"{file}: was drawn on a series that was not converted; convert it together with its images")
    first = found[0][1].grid
    if any(not image.grid.is_close(first) for _, image in found[1:]):
        raise GeometryError(
            f"{file}: the series it was drawn on has {len(found)} images on different grids; give one series"
        )
    return found[0][0], first


_Maps = tuple["dict[str, NDArray[Any]]", "LabelSchema", str, "Grid"]


def _maps(file: str, kind: str, grid: Grid | None) -> _Maps:
    """Arrays by structure, or one label map under ``""``; their schema, what a value means, and where they lie."""
    from isocenter.io.dicom import read_seg, read_seg_fractions, read_seg_labels
    from isocenter.io.dicom.rtstruct import read_rtstruct

    if kind == "FRACTIONAL":
        volume, schema, _ = read_seg_fractions(file, grid=grid)
        return dict(zip(schema.names, volume.array, strict=True)), schema, "probability", volume.grid
    if kind == "RTSTRUCT" and grid is not None:
        volume, schema, _ = read_rtstruct(file, grid=grid)
        return _flattened(volume.array, schema), schema, "label", volume.grid
    try:
        volume, schema, _ = read_seg_labels(file, grid=grid)
    except LabelError:
        volume, schema, _ = read_seg(file, grid=grid)
        return _flattened(volume.array, schema), schema, "label", volume.grid
    return {"": volume.array[0]}, schema, "label", volume.grid


def _flattened(masks: NDArray[Any], schema: LabelSchema) -> dict[str, NDArray[Any]]:
    """One label map where no two masks meet, else the masks."""
    labels = np.zeros(masks.shape[1:], np.uint8 if max(schema.values, default=0) < 256 else np.uint16)
    for mask, structure in zip(masks, schema.structures, strict=True):
        inside = mask.astype(bool)
        if labels[inside].any():
            return dict(zip(schema.names, masks, strict=True))
        labels[inside] = structure.values[0]
    return {"": labels}
