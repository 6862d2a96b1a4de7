"""JPEG in DICOM: what was encoded comes back, another decoder agrees, and damage is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from imagecodecs import jpeg8_encode
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

from isocenter.io.dicom import Stack, find_series
from isocenter.records import FileFormatError, IsocenterError

Make = Callable[..., Any]
SHAPE = (64, 48)


def _only(folder: Path) -> Stack:
    (series,) = find_series(folder)
    return series.stack()


def _encode(syntax: str, **options: Any) -> Callable[[int, Dataset], None]:
    def edit(z: int, ds: Dataset) -> None:
        pixels = np.frombuffer(ds.PixelData, "<u2").reshape(SHAPE)
        if ds.BitsAllocated == 8:
            pixels = pixels.astype(np.uint8)
        ds.PixelData = encapsulate([jpeg8_encode(np.ascontiguousarray(pixels), **options)])
        ds["PixelData"].VR = "OB"
        ds.file_meta.TransferSyntaxUID = syntax

    return edit


def _signed(z: int, ds: Dataset) -> None:
    """The same densities as signed 16-bit numbers without an offset."""
    stored = np.frombuffer(ds.PixelData, "<u2").astype(np.int32) + int(ds.RescaleIntercept)
    ds.PixelData, ds.PixelRepresentation = stored.astype("<i2").tobytes(), 1
    ds.BitsStored, ds.HighBit, ds.RescaleIntercept = 16, 15, 0
    _encode(JPEGLosslessSV1, lossless=True, predictor=1, bitspersample=16)(z, ds)


@pytest.mark.parametrize("predictor", range(1, 8))
def test_lossless_with_every_predictor(make_series: Make, predictor: int) -> None:
    plain = _only(make_series(shape=SHAPE).folder).volume()
    syntax = JPEGLosslessSV1 if predictor == 1 else JPEGLossless
    edit = _encode(syntax, lossless=True, predictor=predictor, bitspersample=16)
    volume = _only(make_series(edit, shape=SHAPE).folder).volume()
    assert np.array_equal(volume.array, plain.array)
    assert volume.array.dtype == np.int16


def test_signed_values(make_series: Make) -> None:
    plain = _only(make_series(shape=SHAPE).folder).volume()
    volume = _only(make_series(_signed, shape=SHAPE).folder).volume()
    assert plain.array.min() < 0
    assert np.array_equal(volume.array, plain.array)


def test_another_decoder_sees_the_same(make_series: Make) -> None:
    truth = make_series(_encode(JPEGLosslessSV1, lossless=True, predictor=1, bitspersample=16), shape=SHAPE)
    volume = _only(truth.folder).volume()
    for z, file in enumerate(truth.files):
        assert np.array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(file))[0], volume.array[0, z])


@pytest.mark.parametrize(("syntax", "bits"), [(JPEGExtended12Bit, 12), (JPEGBaseline8Bit, 8)])
def test_lossy_is_near(make_series: Make, syntax: str, bits: int) -> None:
    def smooth(z: int, ds: Dataset) -> None:
        ramp = np.add.outer(np.arange(SHAPE[0]), np.arange(SHAPE[1])) + 10 * z
        ds.PixelData = ramp.astype("<u2").tobytes()
        if bits == 8:
            ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        _encode(syntax, level=98, bitspersample=bits)(z, ds)

    volume = _only(make_series(smooth, shape=SHAPE).folder).volume()
    ramp = np.add.outer(np.arange(SHAPE[0]), np.arange(SHAPE[1]))
    assert np.abs(volume.array[0, 0] + 1024 - ramp).max() <= 3


def test_data_that_end_early(make_series: Make) -> None:
    def cut(z: int, ds: Dataset) -> None:
        _encode(JPEGLosslessSV1, lossless=True, predictor=1, bitspersample=16)(z, ds)
        if z == 3:
            pixels = np.zeros(SHAPE, np.uint16)
            ds.PixelData = encapsulate([jpeg8_encode(pixels, lossless=True, bitspersample=16)[:-40]])

    truth = make_series(cut, shape=SHAPE)
    with pytest.raises(FileFormatError, match="end early") as caught:
        _only(truth.folder).volume()
    assert truth.files[3] in str(caught.value)


def test_data_that_are_no_jpeg(make_series: Make) -> None:
    def wrong(z: int, ds: Dataset) -> None:
        ds.PixelData = encapsulate([b"\xff\xd8 not a picture \xff\xd9"])
        ds["PixelData"].VR, ds.file_meta.TransferSyntaxUID = "OB", JPEGLosslessSV1

    with pytest.raises(IsocenterError, match="pixels cannot be decoded"):
        _only(make_series(wrong, shape=SHAPE).folder).volume()


def test_a_picture_of_another_size(make_series: Make) -> None:
    def other(z: int, ds: Dataset) -> None:
        ds.PixelData = encapsulate([jpeg8_encode(np.zeros((32, 32), np.uint16), lossless=True, bitspersample=16)])
        ds["PixelData"].VR, ds.file_meta.TransferSyntaxUID = "OB", JPEGLosslessSV1

    with pytest.raises(IsocenterError, match=r"decode to \(32, 32\)"):
        _only(make_series(other, shape=SHAPE).folder).volume()
