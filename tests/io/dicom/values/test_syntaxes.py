"""Pixels of every transfer syntax, frame and tile come back as they were encoded; damage and bombs are errors."""

from __future__ import annotations

import struct
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels.utils import pixel_array
from tests.io.dicom.pixel_files import (
    BIG,
    DEFLATED,
    ENCODERS,
    EXPLICIT,
    HTJ2K,
    J2K,
    JPEG_LS,
    JPEG_SV1,
    JPEG_XL,
    LOSSY,
    NATIVE,
    RLE,
    numbers,
    pixel_file,
)

from isocenter.io.dicom.header import Header, NotDicomError, read_header
from isocenter.io.dicom.values import read_slices, read_stored, stored_pixels
from isocenter.records import FileFormatError, IsocenterError

SHAPE = (3, 25, 18)
ITEMS_OF_IMAGES = (JPEG_SV1, JPEG_LS, J2K, HTJ2K)  # whose frames end with a marker
UNDER_PYDICOM = {"1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.1.98", JPEG_XL, "1.2.840.10008.1.2.4.112"}


@pytest.mark.parametrize("syntax", [*NATIVE, *ENCODERS])
@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 16), ("u2", 12), ("i2", 16), ("i2", 12)])
def test_lossless(tmp_path: Path, syntax: str, dtype: str, bits: int) -> None:
    frames = numbers(SHAPE, dtype, bits=bits)
    header = pixel_file(tmp_path / "a.dcm", frames, syntax, stored=bits, edit=_eight_bits if dtype == "u1" else _as_is)
    for k, frame in enumerate(frames):
        found = stored_pixels(replace(header, frame=k))
        np.testing.assert_array_equal(found, frame)
        assert found.dtype == frame.dtype
        assert found.flags.writeable


def _as_is(ds: Any) -> None:
    pass


def _eight_bits(ds: Any) -> None:
    """Odd counts of bytes would be hidden by an even frame."""
    assert ds.Rows * ds.Columns % 2 == 0


@pytest.mark.parametrize("syntax", [*NATIVE, RLE, JPEG_LS, J2K, JPEG_SV1])
def test_odd_number_of_bytes(tmp_path: Path, syntax: str) -> None:
    frames = numbers((3, 5, 7), "u1")
    encode = {JPEG_LS: imagecodecs.jpegls_encode}.get(syntax)  # the usual one fails on images as small as this
    header = pixel_file(tmp_path / "a.dcm", frames, syntax, encode=encode)
    for k, frame in enumerate(frames):
        np.testing.assert_array_equal(stored_pixels(replace(header, frame=k)), frame)


@pytest.mark.parametrize("syntax", [*NATIVE, RLE])
@pytest.mark.parametrize("dtype", ["u4", "i4"])
def test_32_bits(tmp_path: Path, syntax: str, dtype: str) -> None:
    frames = numbers(SHAPE, dtype)
    header = pixel_file(tmp_path / "a.dcm", frames, syntax)
    np.testing.assert_array_equal(stored_pixels(replace(header, frame=2)), frames[2])


@pytest.mark.parametrize("syntax", NATIVE)
def test_one_bit_frames_begin_inside_of_bytes(tmp_path: Path, syntax: str) -> None:
    frames = np.random.default_rng(3).random((7, 5, 5)) > 0.5
    header = pixel_file(tmp_path / "a.dcm", frames, syntax)
    for k, frame in enumerate(frames):
        np.testing.assert_array_equal(stored_pixels(replace(header, frame=k)), frame)


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_float_pixel_data(tmp_path: Path, syntax: str, dtype: str) -> None:
    frames = np.random.default_rng(4).normal(size=SHAPE).astype(dtype)
    header = pixel_file(tmp_path / "a.dcm", frames, syntax)
    np.testing.assert_array_equal(stored_pixels(replace(header, frame=1)), frames[1])
    values = read_slices([replace(header, frame=k) for k in range(3)])
    np.testing.assert_array_equal(values, frames.astype(np.float32))


def test_bytes_in_words_of_big_endian(tmp_path: Path) -> None:
    frames = numbers((3, 5, 7), "u1")
    swapped = np.frombuffer(frames.tobytes() + b"\0", ">u2").astype("<u2").tobytes()

    def edit(ds: Any) -> None:
        ds.PixelData = swapped
        ds["PixelData"].VR = "OW"

    header = pixel_file(tmp_path / "a.dcm", frames, BIG, edit=edit)
    for k, frame in enumerate(frames):
        np.testing.assert_array_equal(stored_pixels(replace(header, frame=k)), frame)


@pytest.mark.parametrize("syntax", LOSSY)
def test_lossy_is_near(tmp_path: Path, syntax: str) -> None:
    frames = numbers((1, 64, 48), "u2", bits=12)
    header = pixel_file(tmp_path / "a.dcm", frames, syntax, stored=12 if "4.81" in syntax else 16)
    found = stored_pixels(header)
    assert np.abs(found.astype(int) - frames[0]).max() <= 60
    if syntax not in UNDER_PYDICOM:
        np.testing.assert_array_equal(found, dcmread(header.file).pixel_array)


def test_jpeg_of_12_bits_agrees_with_another_decoder() -> None:
    path = get_testdata_file("JPGExtended.dcm")
    np.testing.assert_array_equal(
        stored_pixels(read_header(str(path))), SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[0]
    )


def test_every_file_of_pydicom_is_decoded_as_pydicom_does() -> None:
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    equal, refused = [], []
    for path in sorted(folder.glob("*.dcm")):
        try:
            found = stored_pixels(read_header(path))
        except (IsocenterError, NotDicomError):
            refused.append(path.name)
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                truth = dcmread(path, force=True).pixel_array
        except Exception:  # what pydicom cannot read is compared elsewhere
            assert path.name in ("JPEG-lossy.dcm", "JPGExtended.dcm")
            continue
        np.testing.assert_array_equal(found, truth if truth.ndim == 2 else truth[0], err_msg=path.name)
        equal.append(path.name)
    assert len(equal) >= 22
    assert "MR_truncated.dcm" in refused
    assert {"J2K_pixelrep_mismatch.dcm", "image_dfl.dcm", "liver_expb_1frame.dcm", "rtdose_rle.dcm"} <= set(equal)


@pytest.mark.parametrize("syntax", [JPEG_SV1, JPEG_LS, J2K, HTJ2K])
def test_signed_numbers_in_a_stream_without_sign(tmp_path: Path, syntax: str) -> None:
    frames = numbers((1, 16, 12), "i2", bits=12)
    cells = (frames.view("u2") & 0x0FFF).astype("u2")
    header = pixel_file(tmp_path / "a.dcm", frames, syntax, stored=12, encode=lambda f: ENCODERS[syntax](cells[0]))
    np.testing.assert_array_equal(stored_pixels(header), frames[0])


@pytest.mark.parametrize(
    ("fragments", "table"), [(1, "basic"), (1, "none"), (1, "extended"), (3, "basic"), (3, "none")]
)
@pytest.mark.parametrize("syntax", ITEMS_OF_IMAGES)
def test_frames_in_fragments(tmp_path: Path, syntax: str, fragments: int, table: str) -> None:
    frames = numbers((4, 40, 32), "u2")
    header = pixel_file(tmp_path / "a.dcm", frames, syntax, fragments=fragments, table=table)
    whole = read_stored([replace(header, frame=k) for k in (2, 0, 3, 1)])
    np.testing.assert_array_equal(whole, frames[[2, 0, 3, 1]])


def test_countless_fragments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = pixel_file(tmp_path / "a.dcm", numbers((4, 40, 32), "u2"), J2K, fragments=3)
    monkeypatch.setattr("isocenter.io.dicom.values.encapsulated._MOST", 7)
    _refused(replace(header, frame=1), "fragment 8 at byte .* one too many")


def test_frames_that_cannot_be_told_apart(tmp_path: Path) -> None:
    header = pixel_file(tmp_path / "a.dcm", numbers((4, 40, 32), "u2"), RLE, fragments=2, table="none")
    with pytest.raises(FileFormatError, match="8 fragments for 4 frames"):
        stored_pixels(replace(header, frame=1))


@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED, RLE])
def test_tiles_are_cut_from_one_frame(tmp_path: Path, syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mosaic = numbers((1, 12, 20), "u2", bits=12)
    header = pixel_file(tmp_path / "a.dcm", mosaic, syntax)
    whole = {"TotalPixelMatrixRows": 12, "TotalPixelMatrixColumns": 20}
    tags = dict(header.tags) | {"Rows": 6, "Columns": 10, "RescaleSlope": 1.0, "RescaleIntercept": -5.0} | whole
    corners = [(0, 0), (0, 10), (6, 0), (6, 10)]
    tiles = [replace(header, tags=tags, tile=(r, r + 6, c, c + 10)) for r, c in corners]
    seen = _count_frames(monkeypatch)
    values = read_slices(tiles)
    assert values.dtype == np.int16
    assert len(seen) == 1
    for (r, c), tile, value in zip(corners, tiles, values, strict=True):
        np.testing.assert_array_equal(value, mosaic[0, r : r + 6, c : c + 10].astype(int) - 5)
        np.testing.assert_array_equal(stored_pixels(tile), mosaic[0, r : r + 6, c : c + 10])


def _count_frames(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    from isocenter.io.dicom.values.pixels import Pixels

    seen: list[int] = []
    frame = Pixels.frame

    def counted(self: Pixels, index: int, out: Any = None) -> Any:
        seen.append(index)
        return frame(self, index, out)

    monkeypatch.setattr(Pixels, "frame", counted)
    return seen


@pytest.mark.parametrize("high", [11, 12, 15])
@pytest.mark.parametrize("dtype", ["u2", "i2"])
@pytest.mark.parametrize("syntax", [*NATIVE, RLE])
def test_bits_that_do_not_begin_at_the_lowest(tmp_path: Path, syntax: str, dtype: str, high: int) -> None:
    truth = numbers((1, 9, 8), dtype, bits=12)
    rng = np.random.default_rng(high)
    others = rng.integers(0, 1 << 16, truth.shape).astype("u2") & ~np.uint16(0x0FFF << (high - 11))
    cells = ((truth.view("u2") & 0x0FFF) << (high - 11)) | others

    header = pixel_file(
        tmp_path / "a.dcm", cells.view(dtype), syntax, stored=12, edit=lambda ds: setattr(ds, "HighBit", high)
    )
    np.testing.assert_array_equal(stored_pixels(header), truth[0])


def test_high_bit_that_may_mean_two_things(tmp_path: Path) -> None:
    frames = numbers((1, 9, 8), "u2")
    header = pixel_file(tmp_path / "a.dcm", frames, J2K, stored=12, edit=lambda ds: setattr(ds, "HighBit", 15))
    with pytest.raises(FileFormatError, match=r"HighBit \(0028,0102\) is 15"):
        stored_pixels(header)


def _refused(header: Header, match: str) -> None:
    with _little_memory(), pytest.raises(FileFormatError, match=match) as caught:
        stored_pixels(header)
    assert header.file in str(caught.value)


@contextmanager
def _little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("syntax", [*NATIVE, *ENCODERS])
def test_size_that_the_file_cannot_hold(tmp_path: Path, syntax: str) -> None:
    def edit(ds: Any) -> None:
        ds.Rows = ds.Columns = 65535

    header = pixel_file(tmp_path / "a.dcm", numbers((1, 32, 32), "u2"), syntax, edit=edit)
    _refused(header, "65535 x 65535")


@pytest.mark.parametrize("syntax", [J2K, HTJ2K, JPEG_SV1, JPEG_LS, JPEG_XL])
def test_stream_that_is_larger_than_its_header(tmp_path: Path, syntax: str) -> None:
    encode = ENCODERS[syntax]
    header = pixel_file(
        tmp_path / "a.dcm", numbers((1, 8, 8), "u2"), syntax, encode=lambda f: encode(np.zeros((1400, 1400), "u2"))
    )
    _refused(header, r"decode to \(1400, 1400\)|1400")


def test_stream_that_claims_to_be_huge(tmp_path: Path) -> None:
    """A decoder would allocate 8 GiB; before it is asked, image and tile size are looked at."""

    def claim(frame: np.ndarray) -> bytes:
        data = bytearray(ENCODERS[J2K](frame))
        at = data.index(b"\xff\x51") + 6
        data[at : at + 8] = data[at + 16 : at + 24] = struct.pack(">2I", 65535, 65535)
        return bytes(data)

    header = pixel_file(tmp_path / "a.dcm", numbers((1, 64, 64), "u2"), J2K, encode=claim)
    _refused(header, r"decode to \(65535, 65535\)")


def test_stream_of_countless_tiles(tmp_path: Path) -> None:
    def claim(frame: np.ndarray) -> bytes:
        data = bytearray(ENCODERS[J2K](frame))
        at = data.index(b"\xff\x51") + 22
        data[at : at + 8] = struct.pack(">2I", 1, 1)
        return bytes(data)

    header = pixel_file(tmp_path / "a.dcm", numbers((1, 128, 128), "u2"), J2K, encode=claim)
    _refused(header, "16384 tiles")


def test_deflated_bomb(tmp_path: Path) -> None:
    """48 MB of zeros follow the pixels; they are never inflated."""

    def edit(ds: Any) -> None:
        ds.PixelData = ds.PixelData + bytes(48 << 20)

    frames = numbers((1, 32, 32), "u2")
    header = pixel_file(tmp_path / "a.dcm", frames, DEFLATED, edit=edit)
    with _little_memory():
        np.testing.assert_array_equal(stored_pixels(header), frames[0])


@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED, RLE, J2K])
def test_frames_that_are_not_there(tmp_path: Path, syntax: str) -> None:
    header = pixel_file(
        tmp_path / "a.dcm", numbers((2, 32, 32), "u2"), syntax, edit=lambda ds: setattr(ds, "NumberOfFrames", 2 * 10**9)
    )
    _refused(replace(header, frame=1_999_999_999), r"pixels cannot be decoded \(")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(1, 900), syntax=st.sampled_from([*NATIVE, *ENCODERS]))
def test_data_that_end_early(tmp_path: Path, cut: int, syntax: str) -> None:
    frames = numbers((1, 40, 32), "u2")
    path = tmp_path / "a.dcm"
    header = pixel_file(path, frames, syntax)
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    try:
        found = stored_pixels(replace(header, size=len(data) - cut))
    except FileFormatError:
        return
    assert cut <= 9  # the delimiter at the end, padding
    np.testing.assert_array_equal(found, frames[0])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(1, 300), syntax=st.sampled_from([s for s in ENCODERS if s != "1.2.840.10008.1.2.1.98"]))
def test_streams_that_end_early(tmp_path: Path, cut: int, syntax: str) -> None:
    """The file is whole, the stream in it is not."""
    frames = numbers((1, 40, 32), "u2")
    stream = ENCODERS[syntax](frames[0])
    part = stream[: len(stream) // 2 * 2 - 2 * cut]  # of even length: nothing is appended that might pass for data
    header = pixel_file(tmp_path / "a.dcm", frames, syntax, encode=lambda f: part)
    try:
        found = stored_pixels(header)
    except FileFormatError:
        return
    assert cut <= 4
    np.testing.assert_array_equal(found, frames[0])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), syntax=st.sampled_from([*NATIVE, *ENCODERS]))
def test_damage_is_typed(tmp_path: Path, data: st.DataObject, syntax: str) -> None:
    path = tmp_path / "a.dcm"
    pixel_file(path, numbers((2, 16, 12), "u2"), syntax)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = 132 + int(data.draw(st.floats(0, 0.999)) * (len(content) - 132))
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        header = read_header(path)
        found = stored_pixels(replace(header, frame=1))
    except (IsocenterError, NotDicomError):
        return
    assert found.shape == (header.integer("Rows"), header.integer("Columns"))


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda ds: setattr(ds, "SamplesPerPixel", 3), "colour"),
        (lambda ds: setattr(ds, "BitsAllocated", 12), "BitsAllocated"),
        (lambda ds: setattr(ds, "BitsStored", 17), "BitsStored"),
        (lambda ds: setattr(ds, "HighBit", 16), "HighBit"),
        (lambda ds: setattr(ds, "Rows", 0), "Rows x Columns"),
        (lambda ds: delattr(ds, "PixelData"), "no pixel data element"),
    ],
)
def test_layouts_that_are_not_read(tmp_path: Path, edit: Callable[[Any], Any], match: str) -> None:
    header = pixel_file(tmp_path / "a.dcm", numbers((1, 8, 8), "u2"), EXPLICIT, edit=edit)
    _refused(header, match)


def test_syntax_without_decoder(tmp_path: Path) -> None:
    header = pixel_file(tmp_path / "a.dcm", numbers((1, 8, 8), "u2"), J2K)
    video = replace(header, tags={**header.tags, "TransferSyntaxUID": "1.2.840.10008.1.2.4.102"})
    _refused(video, r"TransferSyntaxUID \(0002,0010\) is 1.2.840.10008.1.2.4.102, for which there is no decoder")


def test_pixels_that_are_not_as_the_syntax_says(tmp_path: Path) -> None:
    header = pixel_file(tmp_path / "a.dcm", numbers((1, 8, 8), "u2"), J2K)
    _refused(replace(header, tags={**header.tags, "TransferSyntaxUID": EXPLICIT}), "stand in fragments")
    header = pixel_file(tmp_path / "b.dcm", numbers((1, 8, 8), "u2"), EXPLICIT)
    _refused(replace(header, tags={**header.tags, "TransferSyntaxUID": J2K}), "do not stand in fragments")


def test_file_that_has_gone(tmp_path: Path) -> None:
    header = pixel_file(tmp_path / "a.dcm", numbers((1, 8, 8), "u2"), EXPLICIT)
    Path(header.file).unlink()
    _refused(header, "cannot be read")


def test_baseline_jpeg_of_pydicom_is_colour() -> None:
    _refused(read_header(str(get_testdata_file("SC_rgb_jpeg_gdcm.dcm"))), "colour")


@pytest.mark.real
def test_jpeg_2000_series(real_data: Callable[[str], Path], assert_right: Callable[..., None]) -> None:
    folder = real_data("totalsegmentator_refs") / "example_ct_dicom"
    truth = sorted(folder.iterdir())[::6]
    headers = [read_header(path) for path in truth]
    assert {h.text("TransferSyntaxUID") for h in headers} == {J2K}
    found = read_slices(headers)
    for path, header, values in zip(truth, headers, found, strict=True):
        ds = dcmread(path)
        np.testing.assert_array_equal(
            values, ds.pixel_array.astype(int) + int(ds.RescaleIntercept), err_msg=header.file
        )


@pytest.mark.real
def test_multi_frame_mr(real_data: Callable[[str], Path]) -> None:
    seen = 0
    for path in sorted((real_data("dcm_qa_enh_multiframe") / "In").rglob("*.dcm")):
        header, truth = read_header(path), pixel_array(path, raw=True)
        for k in range(0, len(truth), 7):
            np.testing.assert_array_equal(stored_pixels(replace(header, frame=k)), truth[k])
            seen += 1
    assert seen > 10
