"""Damaged slices: a typed error, and never a shorter or wrong volume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000Lossless,
    RLELossless,
)

from isocenter.io.dicom import Stack, find_series
from isocenter.io.dicom.header import NotDicomError, read_header
from isocenter.records import FileFormatError, IsocenterError, SeriesError, ValueRangeError

Make = Callable[..., Any]


def _only(folder: Path) -> Stack:
    (series,) = find_series(folder)
    return series.stack()


@pytest.mark.parametrize(
    ("tag", "value"),
    [("ImagePositionPatient", b"1\\2\\x "), ("ImagePositionPatient", b"1\\2\\nan"), ("RescaleSlope", b"abc ")],
)
def test_unreadable_number(make_series: Make, tag: str, value: bytes) -> None:
    truth = make_series()
    path = Path(truth.files[2])
    ds = dcmread(path)
    old = ds.get_item(tag).value
    path.write_bytes(path.read_bytes().replace(old, value.ljust(len(old))[: len(old)], 1))
    with pytest.raises(SeriesError, match=tag):
        _only(truth.folder).volume()


def test_truncated_pixels(make_series: Make) -> None:
    truth = make_series(shape=(64, 64))
    path = Path(truth.files[2])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FileFormatError, match="cannot be decoded") as caught:
        _only(truth.folder).volume()
    assert str(path) in str(caught.value)


def test_damaged_compressed_pixels(make_series: Make) -> None:
    truth = make_series(lambda z, ds: ds.compress(JPEG2000Lossless, generate_instance_uid=False), shape=(64, 64))
    path = Path(truth.files[2])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 4000] + bytes(4000))
    with pytest.raises(IsocenterError) as caught:
        _only(truth.folder).volume()
    assert str(path) in str(caught.value)


def test_compressed_bomb_is_refused_before_decoding(make_series: Make) -> None:
    def edit(z: int, ds: Dataset) -> None:
        ds.compress(RLELossless, generate_instance_uid=False)
        ds.Rows = ds.Columns = 65535

    with pytest.raises(SeriesError, match="65535 x 65535"):
        _only(make_series(edit).folder).volume()


def test_constant_volume(make_series: Make) -> None:
    truth = make_series(lambda z, ds: setattr(ds, "PixelData", bytes(70)))
    with pytest.raises(ValueRangeError, match="every voxel is -1024"):
        _only(truth.folder).volume()


def test_damaged_file_beside_the_series_may_be_one_of_its_slices(make_series: Make) -> None:
    truth = make_series()
    path = Path(truth.files[0])  # an end slice: positions alone would not show that it is missing
    data = path.read_bytes()
    path.write_bytes(data[:132] + b"\xff" * 300)
    with pytest.raises(SeriesError, match="may be one of its slices"):
        _only(truth.folder).volume()


def test_damage_anywhere_is_typed(make_series: Make, caplog: pytest.LogCaptureFixture) -> None:
    truth = make_series()
    path = Path(truth.files[2])
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(120):
        bad = bytearray(data)
        for at in rng.integers(132, len(bad), 2):
            bad[at] = rng.integers(0, 256)
        path.write_bytes(bad if rng.random() < 0.7 else bad[: rng.integers(0, len(bad))])
        try:
            for series in find_series(truth.folder):
                series.stack().volume()
        except IsocenterError as error:
            refused += 1
            assert "Canary" not in str(error)  # noqa: PT017
    assert refused > 20
    assert "Canary" not in caplog.text


def test_pydicoms_own_files_are_right_or_refused(assert_right: Make) -> None:
    folder = Path(str(get_testdata_file("CT_small.dcm"))).parent
    read = []
    for path in sorted(folder.rglob("*.dcm")):
        try:
            header = read_header(path)
            volume = Stack.of(header.text("SeriesInstanceUID"), (header,)).volume()
        except (IsocenterError, NotDicomError):
            continue
        assert_right(volume, [dcmread(path)])
        read.append(path.name)
    assert {"CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm"} <= set(read)
