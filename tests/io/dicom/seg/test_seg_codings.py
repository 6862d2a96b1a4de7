"""Segmentations in every coding that writers use: compressed frames, deflated files, big endian, palettes, 16 bits."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from isocenter.io.dicom import find_series, read_seg, read_seg_fractions, read_seg_labels, seg_header
from isocenter.records import FileFormatError, IsocenterError, LabelError
from isocenter.volume import Grid

Make = Callable[..., Any]
IMPLICIT, EXPLICIT, BIG, DEFLATED = (f"1.2.840.10008.1.2{part}" for part in ("", ".1", ".2", ".1.99"))
RLE, JPEG_2000, JPEG_LS = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"


@pytest.fixture
def source(make_series: Make) -> tuple[Any, Grid]:
    truth = make_series(shape=(33, 37))
    return truth, find_series(truth.folder)[0].stack().grid()


def _labels(grid: Grid) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4, grid.shape).astype(np.uint8)


def _by_highdicom(
    truth: Any, pixels: np.ndarray, kind: str, numbers: tuple[int, ...] = (1, 2, 3), **kwargs: Any
) -> Any:
    segments = [hd.seg.SegmentDescription(k, f"thing {k}", codes.SCT.Organ, codes.SCT.Liver, "MANUAL") for k in numbers]
    by = (hd.UID(), 1, hd.UID(), 1, "m", "m", "1", "1")
    return hd.seg.Segmentation(truth.datasets, pixels, kind, segments, *by, **kwargs)


@pytest.mark.parametrize(
    ("kind", "syntax"),
    [
        ("BINARY", EXPLICIT),
        ("BINARY", IMPLICIT),
        ("BINARY", JPEG_2000),
        *[(kind, syntax) for kind in ("FRACTIONAL", "LABELMAP") for syntax in (EXPLICIT, RLE, JPEG_2000, JPEG_LS)],
    ],
)
@pytest.mark.parametrize("omit", [True, False])
def test_codings_of_highdicom(source: Any, tmp_path: Path, kind: str, syntax: str, omit: bool) -> None:
    truth, grid = source
    labels = _labels(grid)
    labels[[1, 5]] = 0
    seg = _by_highdicom(truth, labels, kind, transfer_syntax_uid=syntax, omit_empty_frames=omit)
    seg.save_as(tmp_path / "s.dcm")
    masks, _, _ = read_seg(tmp_path / "s.dcm", grid=grid, threshold=1.0)
    np.testing.assert_array_equal(masks.array, [labels == k for k in (1, 2, 3)])


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE, JPEG_2000, JPEG_LS])
def test_label_map_of_16_bits(source: Any, tmp_path: Path, syntax: str) -> None:
    truth, grid = source
    numbers = np.array([0, 3, 300, 65000], np.uint16)
    labels = numbers[_labels(grid)]
    _by_highdicom(truth, labels, "LABELMAP", (3, 300, 65000), transfer_syntax_uid=syntax).save_as(tmp_path / "s.dcm")
    found, schema, _ = read_seg_labels(tmp_path / "s.dcm", grid=grid)
    assert found.array.dtype == np.uint16
    np.testing.assert_array_equal(found.array[0], labels)
    assert [s.values for s in schema.structures] == [(3,), (300,), (65000,)]
    np.testing.assert_array_equal(read_seg(tmp_path / "s.dcm", grid=grid)[0].array, [labels == k for k in numbers[1:]])


def test_label_map_with_a_palette(source: Any, tmp_path: Path) -> None:
    truth, grid = source
    labels = _labels(grid)
    lut = hd.PaletteColorLUTTransformation.from_colors(["black", "red", "green", "blue"])
    _by_highdicom(truth, labels, "LABELMAP", palette_color_lut_transformation=lut).save_as(tmp_path / "s.dcm")
    assert dcmread(tmp_path / "s.dcm").PhotometricInterpretation == "PALETTE COLOR"
    np.testing.assert_array_equal(read_seg_labels(tmp_path / "s.dcm", grid=grid)[0].array[0], labels)


def _deflated(ds: Dataset, path: Path) -> None:
    ds.file_meta.TransferSyntaxUID = UID(DEFLATED)
    ds.save_as(path)


def test_deflated_file(source: Any, tmp_path: Path) -> None:
    truth, grid = source
    labels = _labels(grid)
    for kind in ("BINARY", "LABELMAP"):
        _deflated(_by_highdicom(truth, labels, kind), tmp_path / "s.dcm")
        assert dcmread(tmp_path / "s.dcm").file_meta.TransferSyntaxUID == DEFLATED
        np.testing.assert_array_equal(read_seg_labels(tmp_path / "s.dcm", grid=grid)[0].array[0], labels)
        assert seg_header(tmp_path / "s.dcm").kind == kind


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
def test_deflated_frames(source: Any, tmp_path: Path, kind: str) -> None:
    truth, grid = source
    labels = _labels(grid)
    seg = _by_highdicom(truth, labels, kind)
    frames = seg.pixel_array
    if kind == "BINARY":  # each frame begins at a byte, other than in an uncompressed file
        parts = [np.packbits(frame.ravel(), bitorder="little").tobytes() for frame in frames]
    else:
        parts = [frame.tobytes() for frame in frames]
    seg.PixelData = encapsulate([_raw_deflate(part) for part in parts])
    seg["PixelData"].VR, seg["PixelData"].is_undefined_length = "OB", True
    seg.file_meta.TransferSyntaxUID = UID(DEFLATED_FRAMES)
    with (tmp_path / "s.dcm").open("wb") as file:
        dcmwrite(file, seg, implicit_vr=False, little_endian=True, force_encoding=True)
    masks, _, _ = read_seg(tmp_path / "s.dcm", grid=grid, threshold=1.0)
    np.testing.assert_array_equal(masks.array, [labels == k for k in (1, 2, 3)])


@pytest.mark.parametrize(
    ("kind", "numbers"), [("BINARY", (1, 2, 3)), ("LABELMAP", (1, 2, 3)), ("LABELMAP", (1, 2, 300))]
)
def test_big_endian(source: Any, tmp_path: Path, kind: str, numbers: tuple[int, ...]) -> None:
    truth, grid = source
    labels = np.array([0, *numbers], np.uint16)[_labels(grid)]
    if numbers[-1] < 256:
        labels = labels.astype(np.uint8)
    seg = _by_highdicom(truth, labels, kind, numbers)
    plain = Dataset()
    plain.update(seg)
    plain.file_meta = seg.file_meta
    plain.file_meta.TransferSyntaxUID = UID(BIG)
    if numbers[-1] > 255:
        plain.PixelData = np.frombuffer(seg.PixelData, "<u2").astype(">u2").tobytes()
        plain["PixelData"].VR = "OW"
    with (tmp_path / "s.dcm").open("wb") as file:
        dcmwrite(file, plain, implicit_vr=False, little_endian=False, force_encoding=True)
    np.testing.assert_array_equal(read_seg_labels(tmp_path / "s.dcm", grid=grid)[0].array[0], labels)


def test_binary_with_a_byte_a_pixel(source: Any, tmp_path: Path) -> None:
    truth, grid = source
    labels = _labels(grid)
    seg = _by_highdicom(truth, labels, "BINARY")
    seg.PixelData = (seg.pixel_array * 255).tobytes() + b"\0" * (seg.pixel_array.size % 2)
    seg.BitsAllocated, seg.BitsStored, seg.HighBit = 8, 8, 7
    seg.save_as(tmp_path / "s.dcm")
    np.testing.assert_array_equal(read_seg_labels(tmp_path / "s.dcm", grid=grid)[0].array[0], labels)


def _saved(ds: Dataset, path: Path, **changes: Any) -> Path:
    copy = dcmread(io.BytesIO(_bytes(ds)))
    for keyword, value in changes.items():
        setattr(copy, keyword, value)
    copy.save_as(path)
    return path


def _bytes(ds: Dataset) -> bytes:
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def test_sizes_are_checked_before_memory_is_asked_for(source: Any, tmp_path: Path) -> None:
    import tracemalloc

    truth, grid = source
    path = tmp_path / "s.dcm"
    segs = [_by_highdicom(truth, _labels(grid), kind) for kind in ("BINARY", "LABELMAP")]
    segs.append(_by_highdicom(truth, _labels(grid), "LABELMAP", transfer_syntax_uid=RLE))
    segs.append(_by_highdicom(truth, _labels(grid), "LABELMAP", transfer_syntax_uid=JPEG_2000))
    changes: list[dict[str, Any]] = [
        {"NumberOfFrames": 2_000_000_000},
        {"NumberOfFrames": 0},
        {"NumberOfFrames": 5},
        {"Rows": 65535, "Columns": 65535},
        {"Rows": 0},
        {"PerFrameFunctionalGroupsSequence": []},
        {"BitsAllocated": 64, "BitsStored": 64, "HighBit": 63},
        {"SamplesPerPixel": 3},
    ]
    for seg in segs:
        for change in changes:
            _saved(seg, path, **change)
            tracemalloc.start()
            with pytest.raises(IsocenterError):
                read_seg_labels(path)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 16 << 20


def test_truncated(source: Any, tmp_path: Path) -> None:
    truth, grid = source
    path = tmp_path / "s.dcm"
    for kind, syntax in (("BINARY", EXPLICIT), ("LABELMAP", RLE), ("LABELMAP", JPEG_LS), ("FRACTIONAL", EXPLICIT)):
        data = _bytes(_by_highdicom(truth, _labels(grid), kind, transfer_syntax_uid=syntax))
        for cut in (20, 60, 200):
            path.write_bytes(data[:-cut])
            with pytest.raises(FileFormatError):
                read_seg(path, grid=grid, threshold=0.5)


def test_segments_are_bounded_and_sound(source: Any, tmp_path: Path) -> None:
    truth, grid = source
    path = tmp_path / "s.dcm"
    seg = _by_highdicom(truth, _labels(grid), "LABELMAP")
    items = dcmread(io.BytesIO(_bytes(seg))).SegmentSequence

    def described(*numbers: int) -> list[Dataset]:
        found = []
        for number in numbers:
            item = Dataset()
            item.update(items[1])
            item.SegmentNumber = number
            found.append(item)
        return found

    _saved(seg, path, SegmentSequence=described(*range(1, 400)))
    with pytest.raises(LabelError, match=r"s\.dcm: 399 structures declared"):
        read_seg_labels(path)
    _saved(seg, path, SegmentSequence=described(1, 2, 3, 3))
    with pytest.raises(LabelError, match=r"SegmentNumber \(0062,0004\) 3 is described twice"):
        seg_header(path)
    _saved(seg, path, SegmentSequence=described(0, 1, 2, 3))
    with pytest.raises(LabelError, match=r"SegmentNumber \(0062,0004\) 0 is described though 0 is the background"):
        seg_header(path)
    _saved(seg, path, SegmentSequence=described(1, 3))
    with pytest.raises(FileFormatError, match=r"frame \d is of segment 2, which is not described"):
        read_seg_labels(path)
    _saved(seg, path, SegmentSequence=described(1, 3), PixelPaddingValue=2)  # what is padded is in no segment
    expected = np.where(_labels(grid) == 2, 0, _labels(grid))
    np.testing.assert_array_equal(read_seg_labels(path, grid=grid)[0].array[0], expected)
    _saved(seg, path, SegmentationType="SHAPE")
    with pytest.raises(IsocenterError, match=r"SegmentationType \(0062,0001\) is SHAPE; BINARY, FRACTIONAL, LABELMAP"):
        seg_header(path)


def test_what_would_fill_memory_is_named(source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, grid = source
    path = tmp_path / "s.dcm"
    _by_highdicom(truth, _labels(grid), "BINARY").save_as(path)
    monkeypatch.setattr("isocenter.io.dicom.seg.read._MAX_BYTES", 3 * _labels(grid).size)
    read_seg(path, grid=grid)
    with pytest.raises(LabelError, match=r"3 structures of 6 x 33 x 37 voxels need .* name fewer structures"):
        read_seg_fractions(path, grid=grid)
    ds = dcmread(path)
    ds.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient[2] = 1e7
    ds.save_as(path)
    with pytest.raises(IsocenterError, match="give the grid of its source"):
        read_seg(path)
