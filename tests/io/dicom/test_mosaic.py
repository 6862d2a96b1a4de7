"""Siemens mosaics: every tile a slice, where and with what the file states."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from isocenter.io.dicom import find_series
from isocenter.records import SeriesError

Make = Callable[..., Any]
MR = "1.2.840.10008.5.1.4.1.1.4"
ROWS, COLUMNS = 4, 6


def csa(**entries: list[float]) -> bytes:
    """A Siemens CSA header, version 2, with the given entries."""
    out = b"SV10\4\3\2\1" + struct.pack("<II", len(entries), 77)
    for name, values in entries.items():
        out += struct.pack("<64si4s3i", name.encode(), len(values), b"FD\0\0", 4, max(6, len(values)), 77)
        for k in range(max(6, len(values))):
            text = f"{values[k]:.8f}".encode() + b"\0" if k < len(values) else b""
            out += struct.pack("<4i", len(text), len(text), 77, len(text)) + text.ljust((len(text) + 3) // 4 * 4, b"\0")
    return out


def _mosaic(volume: np.ndarray, header: bytes | None, **tags: Any) -> Callable[[int, Dataset], None]:
    side = math.ceil(math.sqrt(len(volume)))
    tiled = np.zeros((side * ROWS, side * COLUMNS), "<u2")
    for k, plane in enumerate(volume):
        y, x = k // side * ROWS, k % side * COLUMNS
        tiled[y : y + ROWS, x : x + COLUMNS] = plane

    def edit(z: int, ds: Dataset) -> None:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MR
        ds.Modality, ds.ImageType = "MR", ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        ds.Rows, ds.Columns = tiled.shape
        ds.PixelData = tiled.tobytes()
        ds.PixelSpacing, ds.SpacingBetweenSlices = [2.0, 3.0], 5.0
        del ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType
        # the corner of a full-size image about the same centre
        ds.ImagePositionPatient = [-3.0 * (tiled.shape[1] - COLUMNS) / 2, -2.0 * (tiled.shape[0] - ROWS) / 2, 7]
        if header is not None:
            ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", header)
        for keyword, value in tags.items():
            setattr(ds, keyword, value)

    return edit


def _volume(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(1, 4000, (count, ROWS, COLUMNS))


@pytest.mark.parametrize("count", [2, 4, 5, 9, 13])
@pytest.mark.parametrize("way", [1, -1])
def test_tiles_become_slices(make_series: Make, count: int, way: int) -> None:
    values = _volume(count)
    header = csa(NumberOfImagesInMosaic=[count], SliceNormalVector=[0, 0, way])
    (series,) = find_series(make_series(_mosaic(values, header), count=1).folder)
    volume = series.stack().volume()
    assert volume.grid.shape == (count, ROWS, COLUMNS)
    for k in range(count):  # the first tile at the origin, the others along the stated normal
        index = volume.grid.to_index([0.0, 0.0, 7 + 5.0 * way * k])
        np.testing.assert_allclose(index[1:], 0, atol=1e-6)
        np.testing.assert_array_equal(volume.array[0, round(index[0])], values[k])


def test_number_of_slices_in_the_newer_element(make_series: Make) -> None:
    def edit(z: int, ds: Dataset) -> None:
        _mosaic(_volume(5), None)(z, ds)
        ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 5)

    (series,) = find_series(make_series(edit, count=1).folder)
    assert len(series.stack()) == 5


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (None, "does not state how many slices"),
        (csa(NumberOfImagesInMosaic=[0]), "does not state how many slices"),
        (csa(NumberOfImagesInMosaic=[5])[:90], "does not state how many slices"),  # damaged
        (csa(NumberOfImagesInMosaic=[40]), "do not hold 7 x 7 tiles"),
        (csa(NumberOfImagesInMosaic=[5], SliceNormalVector=[1, 0, 0]), "not perpendicular"),
    ],
)
def test_mosaic_that_cannot_be_untangled_is_refused(make_series: Make, header: bytes | None, words: str) -> None:
    (series,) = find_series(make_series(_mosaic(_volume(5), header), count=1).folder)
    assert [p.code for p in series.stack().problems()] == ["mosaic"]
    with pytest.raises(SeriesError, match=words):
        series.stack().volume()
