"""Scout views, captures and copies are set aside and named; what merely looks like a copy is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from isocenter.io.dicom import find_series

Make = Callable[..., Any]
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def _scout(z: int, ds: Dataset) -> None:
    if z == 6:
        ds.ImageType, ds.ImageOrientationPatient = ["ORIGINAL", "PRIMARY", "LOCALIZER"], [1, 0, 0, 0, 0, -1]


def _capture(z: int, ds: Dataset) -> None:
    if z == 6:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CAPTURE


@pytest.mark.parametrize(("edit", "reason"), [(_scout, "scout view"), (_capture, "secondary capture")])
def test_what_is_no_slice_is_set_aside(make_series: Make, assert_right: Make, edit: Any, reason: str) -> None:
    truth = make_series(edit, count=7)
    (series,) = find_series(truth.folder)
    assert_right(series.stack().volume(), truth.datasets[:6])
    (aside,) = series.aside
    assert aside.file == truth.files[6]
    assert reason in aside.reason


@pytest.mark.parametrize("other_uid", [False, True])
def test_identical_copy_is_dropped_and_told(
    make_series: Make, assert_right: Make, tmp_path: Path, other_uid: bool
) -> None:
    truth = make_series()
    copy = truth.folder / "copy.dcm"
    shutil.copy(truth.files[2], copy)
    if other_uid:
        ds = dcmread(copy)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.InstanceNumber = 77
        ds.save_as(copy)
    (series,) = find_series(truth.folder)
    assert_right(series.stack().volume(), truth.datasets)
    (aside,) = series.aside
    assert "identical copy" in aside.reason
    assert {Path(aside.file).name, Path(aside.reason.rpartition(" ")[2]).name} == {
        "copy.dcm",
        Path(truth.files[2]).name,
    }


@pytest.mark.parametrize("other_uid", [False, True])
def test_another_image_at_the_same_place_is_refused(make_series: Make, other_uid: bool) -> None:
    truth = make_series()
    ds = dcmread(truth.files[2])
    if other_uid:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.PixelData = bytes(reversed(ds.PixelData))
    ds.save_as(truth.folder / "other.dcm")
    (series,) = find_series(truth.folder)
    assert [p.code for p in series.stack().problems()] == ["duplicate-slice"]
    assert series.aside == ()
