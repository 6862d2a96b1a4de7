"""What is no regular volume is refused by name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    JPEG2000Lossless,
    RLELossless,
)

from isocenter.io.dicom import Stack, find_series
from isocenter.io.dicom.header import NotDicomError, read_header
from isocenter.records import FileFormatError, GeometryError, IsocenterError, SeriesError, ValueRangeError

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


def _small(z: int, ds: Dataset) -> None:
    if z == 2:
        ds.Rows, ds.Columns, ds.PixelData = 3, 4, np.arange(12, dtype="<u2").tobytes()


def _two_volumes(z: int, ds: Dataset) -> None:
    _position(z, ds, [0, 0, -2.5 * (z - z // 2)])
    ds.TemporalPositionIdentifier = z % 2


def _echoes(z: int, ds: Dataset) -> None:
    _two_volumes(z, ds)
    ds.EchoNumbers, ds.EchoTime = z % 2, 10 * (z % 2)


def _localizer(z: int, ds: Dataset) -> None:
    if z == 3:
        ds.ImageType, ds.ImageOrientationPatient = ["ORIGINAL", "PRIMARY", "LOCALIZER"], [1, 0, 0, 0, 0, -1]


def _mr_localizer(z: int, ds: Dataset) -> None:
    ds.SOPClassUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.4", "MR"
    if z == 3:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "LOCALIZER"]
    else:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]


def _lookup(z: int, ds: Dataset) -> None:
    item = Dataset()
    item.LUTDescriptor, item.ModalityLUTType, item.LUTData = [2, 0, 16], "US", b"\0\0\1\0"
    ds.ModalityLUTSequence = DicomSequence([item])


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
    "tilt": (lambda z, ds: _position(z, ds, [0, 0.6 * z, 0]), "gantry-tilt", GeometryError, "13.50 degrees"),
    "duplicate": (
        lambda z, ds: _position(z, ds, [0, 0, -2.5 * (z == 3)]),
        "duplicate-slice",
        SeriesError,
        r"1 of 5 positions",
    ),
    "time points": (_two_volumes, "several-volumes", SeriesError, "2 images at each of 3 positions"),
    "echoes": (_echoes, "mixed-echonumbers", SeriesError, r"EchoNumbers \(0018,0086\) varies \(0, 1\)"),
    "b-values": (
        lambda z, ds: setattr(ds, "DiffusionBValue", 1000.0 * (z > 2)),
        "mixed-diffusionbvalue",
        SeriesError,
        "several b-values",
    ),
    "localizer": (_localizer, "localizer", SeriesError, "LOCALIZER"),
    "MR localizer": (_mr_localizer, "mixed-imagetype", SeriesError, r"ImageType \(0008,0008\) varies"),
    "orientation flipped": (
        _at(2, ImageOrientationPatient=[-1, 0, 0, 0, -1, 0]),
        "mixed-orientations",
        GeometryError,
        r"\(0020,0037\) varies",
    ),
    "sizes": (_small, "mixed-sizes", SeriesError, "3 x 4, 5 x 7"),
    "spacings": (_at(2, PixelSpacing=[0.7, 0.95]), "mixed-spacing", GeometryError, "varies by up to 0.05 mm"),
    "frames of reference": (
        lambda z, ds: setattr(ds, "FrameOfReferenceUID", f"1.2.{z % 2}"),
        "mixed-frameofreferenceuid",
        SeriesError,
        "several frames of reference",
    ),
    "patients": (_at(1, PatientID="CanaryTwo"), "mixed-patientid", SeriesError, r"\(2 values\)"),
    "rescale in some": (_without("RescaleIntercept", only=1), "mixed-rescaleslope", SeriesError, "given for"),
    "multi-frame": (_all(NumberOfFrames=3), "multi-frame", SeriesError, r"NumberOfFrames \(0028,0008\) is 3"),
    "enhanced": (_all(SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1"), "multi-frame", SeriesError, "Enhanced CT"),
    "mosaic": (_all(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "mosaic", SeriesError, "tiled"),
    "secondary capture": (
        _all(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"),
        "not-a-slice",
        SeriesError,
        "Secondary Capture",
    ),
    "colour": (_all(PhotometricInterpretation="RGB", SamplesPerPixel=3), "colour", SeriesError, "RGB with 3 samples"),
    "bits": (_all(HighBit=14), "pixel-format", SeriesError, r"HighBit \(0028,0102\) 14"),
    "lookup table": (_lookup, "lookup-table", SeriesError, r"\(0028,3000\)"),
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
        "6000 x 6000 declare 72000000 bytes",
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
