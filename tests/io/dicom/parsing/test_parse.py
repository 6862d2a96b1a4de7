"""The walk over a file: every way of writing it, every place of it, every limit."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from isocenter.errors import FileFormatError
from isocenter.io.dicom.parsing import LIMITS, UNREADABLE, Limits, NotDicomError, parse

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
PIXELS = bytes(range(48))


def _meta(syntax: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    return meta


def _frames(count: int) -> Dataset:
    """With sequences that are kept, to the third level, and others that are not."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.2", "1.2.3", "CT"
    ds.SeriesInstanceUID, ds.PatientName, ds.Rows, ds.Columns = "1.2.4", "Some^Body", 6, 4
    reference = Dataset()
    reference.ReferencedSOPInstanceUID, reference.PurposeOfReferenceCodeSequence = "1.2.9", [Dataset(), Dataset()]
    ds.ReferencedImageSequence = [reference, Dataset()]
    each = []
    for n in range(count):
        frame, content, place, unit, mapping = (Dataset() for _ in range(5))
        content.DimensionIndexValues, content.StackID = [1, n + 1], "1"
        place.ImagePositionPatient = [0.5, -1.25, 2.5 * n]
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "[hnsf'U]", "UCUM", "Hounsfield unit"
        mapping.MeasurementUnitsCodeSequence, mapping.RealWorldValueSlope = [unit], float(n)
        frame.FrameContentSequence, frame.PlanePositionSequence = [content], [place]
        frame.RealWorldValueMappingSequence, frame.DerivationImageSequence = [mapping], [reference]
        each.append(frame)
    ds.PerFrameFunctionalGroupsSequence = each
    ds.BitsAllocated = ds.BitsStored = 16
    ds.PixelData = PIXELS
    ds["PixelData"].VR = "OW"
    return ds


def _expected(count: int) -> tuple[dict[str, Any], ...]:
    unit = {"CodeValue": "[hnsf'U]", "CodingSchemeDesignator": "UCUM", "CodeMeaning": "Hounsfield unit"}
    return tuple(
        {
            "FrameContentSequence": ({"DimensionIndexValues": (1, n + 1), "StackID": "1"},),
            "PlanePositionSequence": ({"ImagePositionPatient": (0.5, -1.25, 2.5 * n)},),
            "RealWorldValueMappingSequence": (
                {"MeasurementUnitsCodeSequence": (unit,), "RealWorldValueSlope": float(n)},
            ),
        }
        for n in range(count)
    )


def _undefine(ds: Dataset, *, sequences: bool, items: bool) -> None:
    for element in ds:
        if isinstance(element.value, DicomSequence):
            element.is_undefined_length = sequences
            for item in element.value:
                item.is_undefined_length_sequence_item = items
                _undefine(item, sequences=sequences, items=items)


def _start(path: Path) -> int:
    """Where the data set begins."""
    return 132 + 12 + int(dcmread(path).file_meta.FileMetaInformationGroupLength)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.name)
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("items", [True, False])
def test_sequences_however_written(tmp_path: Path, syntax: Any, sequences: bool, items: bool) -> None:
    ds = _frames(40)
    _undefine(ds, sequences=sequences, items=items)
    ds.file_meta = _meta(syntax)
    path = tmp_path / "a.dcm"
    ds.save_as(path, enforce_file_format=True)
    parsed = parse(path)
    assert parsed.tags["PerFrameFunctionalGroupsSequence"] == _expected(40)
    assert "ReferencedImageSequence" not in parsed.tags
    assert "ReferencedSOPInstanceUID" not in parsed.tags
    assert parsed.tags["TransferSyntaxUID"] == syntax
    assert parsed.size == path.stat().st_size
    assert parsed.pixels is not None
    assert (parsed.pixels.element, parsed.pixels.length) == (0x10, 48)
    data = path.read_bytes()
    if syntax == DeflatedExplicitVRLittleEndian:  # as if it were not deflated
        start = _start(path)
        data = data[:start] + zlib.decompress(data[start:], -15)
    assert data[parsed.pixels.value_at : parsed.pixels.value_at + 48] == PIXELS
    assert data[parsed.pixels.at :][:4] == (b"\x7f\xe0\0\x10" if syntax == ExplicitVRBigEndian else b"\xe0\x7f\x10\0")


def _element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """Explicit little endian."""
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    size = len(value) if length is None else length
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return head + struct.pack("<HI", 0, size) + value
    return head + struct.pack("<H", size) + value


SYNTAX = _element(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0")
DEFLATED = _element(0x00020010, b"UI", b"1.2.840.10008.1.2.1.99")
START = (
    _element(0x00080018, b"UI", b"1.2.3\0") + _element(0x00080060, b"CS", b"CT") + _element(0x0020000E, b"UI", b"1.2")
)
ROWS = _element(0x00280010, b"US", b"\0\2")
ITEM, OPEN_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0), struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
ITEM_END, END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
FRAMES = 0x52009230


def _write(path: Path, *elements: bytes, meta: bytes = SYNTAX) -> Path:
    path.write_bytes(bytes(128) + b"DICM" + meta + b"".join(elements))
    return path


def _deflated(path: Path, *elements: bytes) -> Path:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return _write(path, packer.compress(b"".join(elements)) + packer.flush(), meta=DEFLATED)


@pytest.mark.parametrize("around", [1 << 14, (1 << 14) + (1 << 16), 1 << 17])
@pytest.mark.parametrize("deflated", [False, True])
def test_elements_at_the_edge_of_what_is_read_at_once(tmp_path: Path, around: int, deflated: bool) -> None:
    for shift in range(-40, 41):
        filler = _element(0x00111001, b"OB", bytes(around - 132 - len(SYNTAX) - len(START) - 12 + shift))
        make = _deflated if deflated else _write
        path = make(tmp_path / "a", START, filler, ROWS, _element(0x00280030, b"DS", b"0.5\\0.25"), b"pad")
        tags = parse(path).tags
        assert (tags["Rows"], tags["PixelSpacing"], tags["Modality"]) == (512, (0.5, 0.25), "CT"), shift


def test_long_values_are_passed_over_without_reading(tmp_path: Path) -> None:
    path = _write(tmp_path / "a", START, _element(0x00111001, b"OB", b"", 1 << 40 - 9))
    with path.open("r+b") as file:
        file.seek(0, 2)
        file.seek(1 << 31, 1)  # a hole in the file
        file.write(ROWS)
    head = len(path.open("rb").read(400).split(b"OB")[0]) + 4
    with path.open("r+b") as file:
        file.seek(head)
        file.write(struct.pack("<I", 1 << 31))
    assert parse(path, replace(LIMITS, header_bytes=1 << 18)).tags["Rows"] == 512


@pytest.mark.parametrize("rest", [b"", b"pad"])
@pytest.mark.parametrize("deflated", [False, True])
def test_a_file_may_end_with_a_long_value_that_is_passed_over(tmp_path: Path, rest: bytes, deflated: bool) -> None:
    make = _deflated if deflated else _write
    path = make(tmp_path / "a", START, ROWS, _element(0x30060039, b"UN", bytes(1 << 17)), rest)
    assert parse(path).tags["Rows"] == 512


def test_implicit_element_in_an_explicit_data_set(tmp_path: Path) -> None:
    odd = struct.pack("<HHI", 0x0028, 0x0010, 2) + b"\0\2"
    assert parse(_write(tmp_path / "a", START, odd)).tags["Rows"] == 512


@pytest.mark.parametrize("wanted", [True, False])
def test_sequence_of_unknown_representation_is_implicit(tmp_path: Path, wanted: bool) -> None:
    inner = struct.pack("<HHI", 0x0020, 0x0032, 6) + b"1\\2\\3 "
    tag = 0x00209113 if wanted else 0x00111010
    open_one = _element(tag, b"UN", OPEN_ITEM + inner + ITEM_END + END, 0xFFFFFFFF)
    tags = parse(_write(tmp_path / "a", START, open_one, ROWS)).tags
    assert tags.get("PlanePositionSequence") == (({"ImagePositionPatient": (1, 2, 3)},) if wanted else None)
    assert tags["Rows"] == 512


def test_wanted_element_that_is_not_what_it_should_be(tmp_path: Path) -> None:
    as_sequence = _element(0x00280010, b"SQ", OPEN_ITEM + ITEM_END + END, 0xFFFFFFFF)
    as_text = _element(FRAMES, b"LO", b"no items")
    as_name = _element(0x00080070, b"PN", b"Canary^A")
    tags = parse(_write(tmp_path / "a", START, as_sequence, as_text, as_name)).tags
    assert {k for k, v in tags.items() if v is UNREADABLE} == {
        "Rows",
        "PerFrameFunctionalGroupsSequence",
        "Manufacturer",
    }


REFUSED = {
    "longer than the file": (_element(0x00111001, b"OB", b"abc", 1 << 30), "declares 1073741824 bytes and 3 are left"),
    "kept, longer than the file": (_element(0x00280010, b"US", b"", 2), "declares 2 bytes and 0 are left"),
    "item longer than its sequence": (
        _element(FRAMES, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 99)) + bytes(200),
        r"\(FFFE,E000\) declares 99 bytes and 0 are left",
    ),
    "element longer than its item": (
        _element(FRAMES, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 10) + _element(0x00280010, b"US", b"ab", 80))
        + bytes(200),
        "declares 80 bytes and 2 are left",
    ),
    "sequence without end": (_element(FRAMES, b"SQ", ITEM, 0xFFFFFFFF), "a sequence has no end"),
    "item without end": (_element(FRAMES, b"SQ", OPEN_ITEM + ROWS, 0xFFFFFFFF), "an item has no end"),
    "passed over, without end": (_element(0x00081140, b"SQ", OPEN_ITEM + ROWS, 0xFFFFFFFF), "an item has no end"),
    "no item": (_element(FRAMES, b"SQ", ROWS + bytes(20), 0xFFFFFFFF), r"\(0028,0010\) where an item of \(5200,9230\)"),
    "passed over, no item": (_element(0x00081140, b"SQ", ROWS + bytes(20), 0xFFFFFFFF), "where an item is due"),
    "passed over, item in item": (
        _element(0x00081140, b"SQ", OPEN_ITEM + OPEN_ITEM + bytes(20), 0xFFFFFFFF),
        "where an element is due",
    ),
    "stray item": (ITEM + ROWS, r"\(FFFE,E000\) where an element is due"),
    "stray end": (ITEM_END + ROWS, r"\(FFFE,E00D\) where an element is due"),
    "end of an item of known length": (
        _element(FRAMES, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 8) + ITEM_END),
        r"\(FFFE,E00D\) where an element is due",
    ),
    "half a head in an item": (
        _element(FRAMES, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 4) + b"\x28\0\x10\0") + ROWS,
        "an item has no end",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be(tmp_path: Path, name: str) -> None:
    elements, words = REFUSED[name]
    path = _write(tmp_path / "a", START, elements)
    with pytest.raises(FileFormatError, match=words) as caught:
        parse(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: damaged DICOM header: ")
    assert text.endswith("; send or export it again")
    assert "\n" not in text


def _nested(depth: int, tag: int, *, undefined: bool) -> bytes:
    inner = ROWS
    for _ in range(depth):
        if undefined:
            inner = _element(tag, b"SQ", OPEN_ITEM + inner + ITEM_END + END, 0xFFFFFFFF)
        else:
            item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
            inner = _element(tag, b"SQ", item)
    return inner


@pytest.mark.parametrize("undefined", [True, False])
def test_depth_of_what_is_kept(tmp_path: Path, undefined: bool) -> None:
    tag = 0x00409096
    found = parse(_write(tmp_path / "a", START, _nested(16, tag, undefined=undefined))).tags
    for _ in range(16):
        (found,) = found["RealWorldValueMappingSequence"]
    assert found == {"Rows": 512}
    with pytest.raises(FileFormatError, match="lies in more than 16 sequences"):
        parse(_write(tmp_path / "a", START, _nested(17, tag, undefined=undefined)))


def test_depth_of_what_is_passed_over(tmp_path: Path) -> None:
    assert parse(_write(tmp_path / "a", START, _nested(32, 0x00081140, undefined=True), ROWS)).tags["Rows"] == 512
    with pytest.raises(FileFormatError, match="more than 32 sequences inside of each other"):
        parse(_write(tmp_path / "a", START, _nested(33, 0x00081140, undefined=True), ROWS))


LONG = _element(0x0008103E, b"UT", b"x" * 5000)
MANY = _element(0x00111001, b"US", b"\0\0") * 300
ITEMS = _element(FRAMES, b"SQ", (OPEN_ITEM + ROWS + ITEM_END) * 300 + END, 0xFFFFFFFF)
UNKEPT = _element(0x00081140, b"SQ", (OPEN_ITEM + ROWS + ITEM_END) * 300 + END, 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("elements", "limits", "words"),
    [
        (MANY, Limits(elements=200), "more than 200 elements"),
        (ITEMS, Limits(elements=400), "more than 400 elements"),
        (UNKEPT, Limits(elements=400), "more than 400 elements"),
        (LONG, Limits(value_bytes=4000), r"\(0008,103E\) declares 5000 bytes, 4000 are allowed"),
        (ITEMS, Limits(memory_bytes=10_000), "more memory than a file of its size explains"),
        (_element(0x00111001, b"OB", bytes(70_000)) * 9, Limits(header_bytes=300_000), "stand before the pixels"),
    ],
)
def test_limits(tmp_path: Path, elements: bytes, limits: Limits, words: str) -> None:
    path = _write(tmp_path / "a", START, elements, ROWS)
    assert parse(path).tags["Rows"] == 512
    with pytest.raises(FileFormatError, match=words):
        parse(path, limits)


def test_limits_of_inflating(tmp_path: Path) -> None:
    path = _deflated(tmp_path / "a", START, _element(0x00111001, b"OB", bytes(4_000_000)), ROWS)
    with pytest.raises(FileFormatError, match=r"deflated bytes hold more than \d+ before the pixels"):
        parse(path)
    assert parse(path, Limits(inflate_ratio=2000)).tags["Rows"] == 512
    with pytest.raises(FileFormatError, match=r"deflated bytes hold more than \d+ before the pixels"):
        parse(path, Limits(inflate_ratio=2000, inflated_bytes=3_000_000))


@pytest.mark.parametrize("cut", [20, 200, -1])
def test_damaged_deflated_data_set(tmp_path: Path, cut: int) -> None:
    path = _deflated(tmp_path / "a", START, _element(0x00111001, b"OB", os.urandom(2000)), ROWS)
    data = path.read_bytes()
    start = 132 + len(DEFLATED)
    path.write_bytes(data[: start + cut] if cut > 0 else data[:cut])
    with pytest.raises(FileFormatError, match="ends early"):
        parse(path)
    path.write_bytes(data[:start] + b"\xff" * 50)
    with pytest.raises(FileFormatError, match="deflated data set is damaged"):
        parse(path)


def test_a_file_that_ends_early_never_says_anything_else(tmp_path: Path) -> None:
    whole = _write(tmp_path / "a", START, _element(0x00081140, b"SQ", OPEN_ITEM + ROWS + ITEM_END + END, 0xFFFFFFFF),
                   _element(0x00280030, b"DS", b"0.5\\0.25"), ROWS, _element(0x7FE00010, b"OW", PIXELS))  # fmt: skip
    data, truth = whole.read_bytes(), parse(whole).tags
    refused = 0
    for length in range(132, len(data)):
        whole.write_bytes(data[:length])
        try:
            found = parse(whole).tags
        except FileFormatError:
            refused += 1
            continue
        for keyword in found.keys() - {"TransferSyntaxUID"}:
            assert found[keyword] == truth[keyword]
    assert refused > 50


@pytest.mark.parametrize("start", [b"\x08\x00", b"\x02\x00", b"\x00\x08"])
def test_two_bytes_do_not_make_it_dicom(tmp_path: Path, start: bytes) -> None:
    for seed in range(60):
        noise = (seed * 7919).to_bytes(3, "big") * 40
        (tmp_path / "a").write_bytes(start + noise)
        with pytest.raises(NotDicomError):
            parse(tmp_path / "a")


@pytest.mark.parametrize("syntax", SYNTAXES[:3], ids=lambda s: s.name)
def test_data_set_without_preamble(tmp_path: Path, syntax: Any) -> None:
    ds = _frames(2)
    ds.file_meta = _meta(syntax)
    ds.save_as(tmp_path / "whole", enforce_file_format=True)
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "bare").write_bytes(data[_start(tmp_path / "whole") :])
    parsed = parse(tmp_path / "bare")
    assert parsed.tags["TransferSyntaxUID"] == syntax
    assert parsed.tags["PerFrameFunctionalGroupsSequence"] == _expected(2)
    (tmp_path / "bare").write_bytes(data[132:])
    assert parse(tmp_path / "bare").tags == parse(tmp_path / "whole").tags


@pytest.mark.parametrize(("told", "written"), [SYNTAXES[:2], SYNTAXES[1::-1]])
def test_a_file_written_other_than_it_says(tmp_path: Path, told: Any, written: Any) -> None:
    ds = _frames(2)
    ds.file_meta = _meta(written)
    ds.save_as(tmp_path / "a", enforce_file_format=True)
    data = (tmp_path / "a").read_bytes()[_start(tmp_path / "a") :]
    tags = parse(_write(tmp_path / "b", data, meta=_element(0x00020010, b"UI", f"{told}\0".encode()))).tags
    assert tags["PerFrameFunctionalGroupsSequence"] == _expected(2)
    assert tags["TransferSyntaxUID"] == told


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="cannot be read"):
        parse(tmp_path / "absent")
    with pytest.raises(FileFormatError, match="cannot be read"):
        parse(tmp_path)
    (tmp_path / "dir.dcm").write_bytes(b"")
    with pytest.raises(NotDicomError):
        parse(tmp_path / "dir.dcm")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_data_set_is_read_as_pydicom_reads_it(tmp_path: Path, data: st.DataObject) -> None:
    number = st.decimals(-999, 999, places=3).map(str)
    short = st.text("ABC xyz09", min_size=1, max_size=12).map(str.strip).filter(bool)
    values: dict[str, Any] = {
        "PixelSpacing": st.lists(number, min_size=2, max_size=2),
        "ImagePositionPatient": st.lists(number, min_size=3, max_size=3),
        "Rows": st.integers(0, 65535),
        "SliceVector": st.lists(st.integers(0, 65535), min_size=1, max_size=300),
        "InstanceNumber": st.integers(-(2**31), 2**31 - 1),
        "SeriesDescription": short,
        "DiffusionBValue": st.floats(0, 5000),
        "FrameIncrementPointer": st.sampled_from([0x00540080, 0x00181063]),
        "ImageComments": st.text("x", min_size=0, max_size=70_000),
        "PatientName": short,
        "DerivationDescription": short,
    }
    ds = Dataset()
    for keyword in data.draw(st.sets(st.sampled_from(sorted(values)))):
        setattr(ds, keyword, data.draw(values[keyword]))
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    syntax = data.draw(st.sampled_from(SYNTAXES))
    ds.file_meta = _meta(syntax)
    path = tmp_path / "a.dcm"
    ds.save_as(path, enforce_file_format=True)
    tags = parse(path).tags
    again = dcmread(path)
    for keyword in values:
        value = again.get(keyword)
        if keyword in ("ImageComments", "PatientName", "DerivationDescription") or value in (None, ""):
            assert keyword not in tags
        elif isinstance(value, str):
            assert tags[keyword] == value
        elif hasattr(value, "__len__"):
            assert tags[keyword] == tuple(value)
        else:
            assert tags[keyword] == value
