"""What is no regular volume is refused by name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from isocenter.io.dicom import Stack, find_series
from isocenter.records import GeometryError, IsocenterError, SeriesError

Make = Callable[..., Any]


def _only(folder: Path) -> Stack:
    (series,) = find_series(folder)
    return series.stack()


def _position(z: int, ds: Dataset, delta: list[float]) -> None:
    ds.ImagePositionPatient = [float(v) + d for v, d in zip(ds.ImagePositionPatient, delta, strict=True)]


def _at(chosen: int, **tags: Any) -> Callable[[int, Dataset], None]:
    def edit(z: int, ds: Dataset) -> None:
        if z == chosen:
            for keyword, value in tags.items():
                setattr(ds, keyword, value)

    return edit


def _all(**tags: Any) -> Callable[[int, Dataset], None]:
    return lambda z, ds: [setattr(ds, keyword, value) for keyword, value in tags.items()]


def _without(keyword: str, *, only: int | None = None) -> Callable[[int, Dataset], None]:
    def edit(z: int, ds: Dataset) -> None:
        if only in (None, z):
            delattr(ds, keyword)

    return edit


def _twice(z: int, ds: Dataset) -> None:
    """Three places twice, in an order of instances that is neither volume by volume nor place by place."""
    _position(z, ds, [0, 0, -2.5 * (z - z // 2)])
    ds.InstanceNumber = [1, 2, 3, 5, 4, 6][z]


def _localizer(z: int, ds: Dataset) -> None:
    if z == 3:
        ds.ImageType, ds.ImageOrientationPatient = ["ORIGINAL", "PRIMARY", "LOCALIZER"], [1, 0, 0, 0, 0, -1]


def _mr_localizer(z: int, ds: Dataset) -> None:
    ds.SOPClassUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.4", "MR"
    if z == 3:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "LOCALIZER"]
    else:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]


REFUSALS: dict[str, tuple[Any, str, type[IsocenterError], str]] = {
    "gap": (lambda z, ds: _position(z, ds, [0, 0, 2.5 * (z > 3)]), "missing-slice", GeometryError, "5.000 mm"),
    "uneven": (
        lambda z, ds: _position(z, ds, [0, 0, 0.1 * z * z]),
        "variable-spacing",
        GeometryError,
        "from 2.600 to 3.400 mm",
    ),
    "wandering": (
        lambda z, ds: _position(z, ds, [0.5 * (z == 2), 0, 0]),
        "irregular-positions",
        GeometryError,
        "mm off",
    ),
    "duplicate": (
        lambda z, ds: _position(z, ds, [0, 0, -2.5 * (z == 3)]),
        "duplicate-slice",
        SeriesError,
        r"1 of 5 positions",
    ),
    "localizer": (
        _all(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        "localizer",
        SeriesError,
        "LOCALIZER",
    ),
    "localizer in the place of a slice": (_localizer, "missing-slice", GeometryError, r"1 slice\(s\) missing"),
    "MR localizer": (_mr_localizer, "missing-slice", GeometryError, r"1 slice\(s\) missing"),
    "slices at the same places, no way to tell them": (_twice, "several-volumes", SeriesError, "2 images at each of 3"),
    "patients": (_at(1, PatientID="CanaryTwo"), "mixed-patientid", SeriesError, r"\(2 values\)"),
    "rescale in some": (_without("RescaleIntercept", only=1), "mixed-rescaleslope", SeriesError, "given for"),
    "multi-frame": (_all(NumberOfFrames=3), "multi-frame", SeriesError, r"NumberOfFrames \(0028,0008\) is 3"),
    "enhanced": (_all(SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1"), "undescribed-images", SeriesError, "describes 0"),
    "mosaic": (_all(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "mosaic", SeriesError, "how many slices"),
    "secondary capture": (
        _all(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"),
        "not-a-slice",
        SeriesError,
        "Secondary Capture",
    ),
    "colour": (_all(PhotometricInterpretation="RGB", SamplesPerPixel=3), "colour", SeriesError, "RGB with 3 samples"),
    "bits": (_all(HighBit=16), "pixel-format", SeriesError, r"HighBit \(0028,0102\) 16"),
    "no position": (_without("ImagePositionPatient"), "bad-element", SeriesError, r"\(0020,0032\) is absent"),
    "no orientation": (_without("ImageOrientationPatient", only=1), "bad-element", SeriesError, "is absent"),
    "no spacing": (_without("PixelSpacing"), "bad-element", SeriesError, r"PixelSpacing \(0028,0030\) is absent"),
    "zero spacing": (_all(PixelSpacing=[0, 0.9]), "bad-spacing", GeometryError, "must be positive"),
    "skew": (
        _all(ImageOrientationPatient=[1, 0, 0, 0.2, 0.98, 0]),
        "bad-orientation",
        GeometryError,
        "not two perpendicular",
    ),
    "no rows": (_without("Rows", only=4), "no-pixels", SeriesError, r"Rows \(0028,0010\) is absent"),
    "truncated": (
        _all(Rows=6000, Columns=6000),
        "truncated",
        SeriesError,
        r"6000 x 6000 \(1 frame\(s\)\) declare 72000000 bytes",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_by_name(make_series: Make, caplog: pytest.LogCaptureFixture, name: str) -> None:
    edit, code, error, words = REFUSALS[name]
    truth = make_series(edit)
    with caplog.at_level(logging.DEBUG):
        (series,) = find_series(truth.folder)
        stack = series.stack()
        found = stack.problems()
        assert found[0].code == code
        for ask in (stack.grid, stack.volume):
            with pytest.raises(error, match=words) as caught:
                ask()
            assert type(caught.value) is error
            assert series.uid in str(caught.value)
            assert "\n" not in str(caught.value)
            assert "; " in str(caught.value)  # the remedy
            assert "Canary" not in str(caught.value)
    assert "Canary" not in caplog.text
