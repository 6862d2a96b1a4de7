"""Stored numbers to values: exact in int16, rounded once in float32, through slopes and tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_rescale
from pydicom.sequence import Sequence
from tests.io.dicom.pixel_files import BIG, DEFLATED, EXPLICIT, IMPLICIT, J2K, RLE, numbers, pixel_file

from isocenter.io.dicom.header import Header, read_header
from isocenter.io.dicom.values import padding_range, padding_value, read_slices, stored_pixels, value_unit
from isocenter.records import FileFormatError, IsocenterError, SeriesError

Make = Callable[..., Any]
SYNTAXES = (IMPLICIT, EXPLICIT, BIG, DEFLATED, RLE, J2K)


def _scaled(slope: float | str, intercept: float | str) -> Callable[[Dataset], None]:
    def edit(ds: Dataset) -> None:
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = str(slope), str(intercept), "HU"

    return edit


def _frames(header: Header, count: int) -> list[Header]:
    return [replace(header, frame=k) for k in range(count)]


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("dtype", "bits", "intercept", "exact"),
    [
        ("u2", 12, -1024, True),
        ("u2", 16, -1024, False),  # all of 16 bits are there
        ("u2", 15, 0, True),
        ("u2", 15, 1, False),
        ("i2", 16, 0, True),
        ("i2", 16, 1, False),
        ("i2", 12, -30720, True),
        ("i2", 12, -30721, False),
        ("u1", 8, 32512, True),
    ],
)
def test_whole_numbers(tmp_path: Path, syntax: str, dtype: str, bits: int, intercept: int, exact: bool) -> None:
    frames = numbers((3, 12, 10), dtype, bits=bits)
    header = pixel_file(tmp_path / "a.dcm", frames, syntax, stored=bits, edit=_scaled(1, intercept))
    values = read_slices(_frames(header, 3))
    assert values.dtype == (np.int16 if exact else np.float32)
    np.testing.assert_array_equal(values, frames.astype(np.int64) + intercept)


def test_numbers_that_fit_although_their_bits_might_not(tmp_path: Path) -> None:
    frames = numbers((2, 12, 10), "u2", bits=15)
    header = pixel_file(tmp_path / "a.dcm", frames, EXPLICIT, edit=_scaled(1, -1024))
    values = read_slices(_frames(header, 2))
    assert values.dtype == np.int16
    np.testing.assert_array_equal(values, frames.astype(np.int64) - 1024)


def test_one_slice_that_does_not_fit_makes_all_float(make_series: Make, assert_right: Make) -> None:
    def edit(z: int, ds: Dataset) -> None:
        ds.BitsStored, ds.HighBit = 16, 15
        ds.PixelData = (np.arange(35, dtype="<u2") + (60000 if z == 4 else 0)).tobytes()

    truth = make_series(edit)
    values = read_slices([read_header(f) for f in truth.files])
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, [ds.pixel_array.astype(int) - 1024 for ds in truth.datasets])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    slope=st.floats(1e-6, 1e4) | st.sampled_from([1.0, -1.0, 0.1]),
    intercept=st.floats(-1e5, 1e5) | st.sampled_from([0.0, -1024.0]),
    dtype=st.sampled_from(["u1", "u2", "i2", "u4", "i4"]),
    syntax=st.sampled_from([EXPLICIT, RLE]),
)
def test_any_slope_is_rounded_once(tmp_path: Path, slope: float, intercept: float, dtype: str, syntax: str) -> None:
    frames = numbers((1, 6, 8), dtype)
    slope, intercept = float(f"{slope:.10g}"), float(f"{intercept:.10g}")
    header = pixel_file(tmp_path / "a.dcm", frames, syntax, edit=_scaled(f"{slope:.10g}", f"{intercept:.10g}"))
    values = read_slices([header])
    reference = apply_rescale(frames[0], dcmread(header.file))
    expected = frames[0].astype(np.float64) * slope + intercept
    np.testing.assert_allclose(reference, expected, rtol=1e-12)
    np.testing.assert_array_equal(values[0], expected.astype(values.dtype))
    assert values.dtype == np.float32 or (expected == values[0]).all()


def test_slope_of_each_frame(tmp_path: Path) -> None:
    frames = numbers((4, 6, 8), "u2", bits=12)
    header = pixel_file(tmp_path / "a.dcm", frames, J2K, stored=12)
    scales = [(1.0, 0.0), (0.25, 3.0), (2.5, -7.25), (1.0, -1024.0)]
    headers = [
        replace(header, frame=k, tags=dict(header.tags) | {"RescaleSlope": s, "RescaleIntercept": i})
        for k, (s, i) in enumerate(scales)
    ]
    expected = np.stack([f * s + i for f, (s, i) in zip(frames.astype(np.float64), scales, strict=True)])
    np.testing.assert_array_equal(read_slices(headers), expected.astype(np.float32))


def test_files_and_frames_in_any_order(tmp_path: Path) -> None:
    files = [numbers((3, 6, 8), "u2", bits=12, seed=k) for k in range(3)]
    headers = [pixel_file(tmp_path / f"{k}.dcm", f, (EXPLICIT, RLE, DEFLATED)[k]) for k, f in enumerate(files)]
    order = [(2, 1), (0, 0), (1, 2), (2, 0), (0, 2), (1, 1), (0, 0)]
    values = read_slices([replace(headers[f], frame=k) for f, k in order])
    np.testing.assert_array_equal(values, [files[f][k] for f, k in order])


def test_images_of_several_sizes(tmp_path: Path) -> None:
    headers = [pixel_file(tmp_path / f"{n}.dcm", numbers((1, n, 8), "u2"), EXPLICIT) for n in (6, 8)]
    with pytest.raises(SeriesError, match="2 sizes"):
        read_slices(headers)


def test_monochrome1_is_not_inverted(tmp_path: Path) -> None:
    frames = numbers((1, 6, 8), "u2", bits=12)

    def edit(ds: Dataset) -> None:
        ds.PhotometricInterpretation = "MONOCHROME1"

    header = pixel_file(tmp_path / "a.dcm", frames, RLE, edit=edit)
    np.testing.assert_array_equal(read_slices([header])[0], frames[0])


def _table(first: int, entries: np.ndarray, kind: str = "HU", bits: int = 16) -> Callable[[Dataset], None]:
    def edit(ds: Dataset) -> None:
        item = Dataset()
        item.add_new("LUTDescriptor", "SS" if ds.PixelRepresentation else "US", [len(entries) % 65536, first, bits])
        item.ModalityLUTType = kind
        order = ">" if ds.file_meta.TransferSyntaxUID == BIG else "<"
        item.add_new("LUTData", "OW", entries.astype(f"{order}u2").tobytes())
        ds.ModalityLUTSequence = Sequence([item])

    return edit


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(("dtype", "first"), [("u2", 100), ("i2", -900), ("u1", 3)])
def test_table(tmp_path: Path, syntax: str, dtype: str, first: int) -> None:
    """Beyond the ends of the table numbers have the values of its ends."""
    frames = numbers((2, 20, 16), dtype, bits=None if dtype == "u1" else 11)
    entries = (np.arange(200 if dtype == "u1" else 1500) ** 2 // 80).astype(np.uint16)
    header = pixel_file(tmp_path / "a.dcm", frames, syntax, edit=_table(first, entries))
    values = read_slices(_frames(header, 2))
    assert values.dtype == np.int16
    assert value_unit(header) == "HU"
    np.testing.assert_array_equal(values, entries[np.clip(frames.astype(int) - first, 0, len(entries) - 1)])
    if syntax != BIG:
        np.testing.assert_array_equal(values, apply_modality_lut(frames, dcmread(header.file)))


def test_table_of_65536_large_entries(tmp_path: Path) -> None:
    frames = numbers((1, 20, 16), "u2")
    entries = np.arange(65536)[::-1].astype(np.uint16)
    header = pixel_file(tmp_path / "a.dcm", frames, EXPLICIT, edit=_table(0, entries, kind="OD"))
    values = read_slices([header])
    assert (values.dtype, value_unit(header)) == (np.float32, "a.u.")
    np.testing.assert_array_equal(values[0], 65535 - frames[0].astype(int))


def test_table_of_bytes(tmp_path: Path) -> None:
    frames = numbers((1, 20, 16), "u1")

    def edit(ds: Dataset) -> None:
        _table(0, np.zeros(256), bits=8)(ds)
        ds.ModalityLUTSequence[0].LUTData = np.arange(256)[::-1].astype(np.uint8).tobytes()

    header = pixel_file(tmp_path / "a.dcm", frames, EXPLICIT, edit=edit)
    np.testing.assert_array_equal(read_slices([header])[0], 255 - frames[0].astype(int))


def test_table_that_is_too_short(tmp_path: Path) -> None:
    def edit(ds: Dataset) -> None:
        _table(0, np.zeros(256))(ds)
        ds.ModalityLUTSequence[0].LUTData = bytes(100)

    header = pixel_file(tmp_path / "a.dcm", numbers((1, 8, 8), "u2"), EXPLICIT, edit=edit)
    with pytest.raises(SeriesError, match=r"ModalityLUTSequence \(0028,3000\)"):
        read_slices([header])


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_padding(tmp_path: Path, syntax: str) -> None:
    def edit(ds: Dataset) -> None:
        _scaled(2, -5)(ds)
        ds.add_new("PixelPaddingValue", "SS", -2000)
        ds.add_new("PixelPaddingRangeLimit", "SS", -1900)

    header = pixel_file(tmp_path / "a.dcm", numbers((1, 8, 8), "i2"), syntax, edit=edit)
    assert padding_value(header) == -4005
    assert padding_range(header) == (-4005, -3805)


def test_padding_with_the_sign_of_the_pixels(tmp_path: Path) -> None:
    """Some write it as unsigned whatever the pixels are."""

    def edit(ds: Dataset) -> None:
        ds.add_new("PixelPaddingValue", "US", 63536)

    header = pixel_file(tmp_path / "a.dcm", numbers((1, 8, 8), "i2"), EXPLICIT, edit=edit)
    assert padding_range(header) == (-2000, -2000)


def test_no_padding(tmp_path: Path) -> None:
    header = pixel_file(tmp_path / "a.dcm", numbers((1, 8, 8), "i2"), EXPLICIT)
    assert (padding_value(header), padding_range(header)) == (None, None)


def test_padding_of_floats(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).random((1, 8, 8)).astype("f4")
    header = pixel_file(
        tmp_path / "a.dcm", frames, EXPLICIT, edit=lambda ds: setattr(ds, "FloatPixelPaddingValue", -0.5)
    )
    assert padding_value(header) == -0.5


@pytest.mark.parametrize(
    ("tags", "unit"),
    [
        ({"Modality": "CT", "RescaleSlope": 1.0, "RescaleIntercept": 0.0}, "HU"),
        ({"Modality": "CT", "RescaleSlope": 1.0, "RescaleIntercept": 0.0, "RescaleType": "US"}, "a.u."),
        ({"Modality": "CT"}, "a.u."),
        ({"Modality": "MR", "RescaleSlope": 1.0, "RescaleIntercept": 0.0}, "a.u."),
        ({"Modality": "PT", "Units": "BQML"}, "Bq/ml"),
        ({"Modality": "PT", "Units": "GML"}, "SUVbw"),
        ({"Modality": "PT", "Units": "GML", "SUVType": "BW"}, "SUVbw"),
        ({"Modality": "PT", "Units": "GML", "SUVType": "LBM"}, "a.u."),
        ({"Modality": "PT", "Units": "CNTS"}, "a.u."),
    ],
)
def test_units(tags: dict[str, Any], unit: str) -> None:
    assert value_unit(Header("a.dcm", 0, tags)) == unit


def test_first_damaged_file_is_named(make_series: Make) -> None:
    truth = make_series(shape=(40, 40))
    damaged = Path(truth.files[3])
    damaged.write_bytes(damaged.read_bytes()[:-200])
    with pytest.raises(FileFormatError, match="end early") as caught:
        read_slices([read_header(f) for f in truth.files])
    assert str(damaged) in str(caught.value)


@pytest.mark.real
@pytest.mark.parametrize("name", ["dcm_qa_nih", "dcm_qa_ct", "sarcoma_pet_ct_mr", "lung_ct_gtv_ibsi_phantom"])
def test_real_files_agree_with_pydicom(real_data: Callable[[str], Path], name: str) -> None:
    seen = 0
    for path in sorted(real_data(name).rglob("*.dcm"))[::9]:
        ds = dcmread(path)
        if "PixelData" not in ds:
            continue
        try:
            header = read_header(path)
            stored, values = stored_pixels(header), read_slices([header])[0]
        except IsocenterError as error:
            pytest.fail(str(error))
        np.testing.assert_array_equal(stored, ds.pixel_array)
        np.testing.assert_allclose(values, apply_rescale(ds.pixel_array, ds), rtol=1e-6)
        seen += 1
    assert seen >= 3
