"""Every value that is kept equals pydicom's, of its own files, of real ones and of ones made here."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_VR, private_dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from isocenter.errors import FileFormatError, SeriesError
from isocenter.io.dicom.header import Header, read_header, tag_name
from isocenter.io.dicom.parsing import UNREADABLE, NotDicomError, parse
from isocenter.io.dicom.parsing.wanted import KNOWN, TAGS, Kind, reserved

SYNTAXES = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}


def plain(value: Any) -> Any:
    """What a value of pydicom is in a header; ``None`` where it is empty."""
    if value is None or isinstance(value, bytes):
        return value or None
    if isinstance(value, DicomSequence):
        return tuple(kept(item) for item in value) or None
    if isinstance(value, (list, tuple, MultiValue)):
        return tuple("" if v in ("", None) else plain(v) for v in value) or None
    if isinstance(value, (int, float)):
        return int(value) if isinstance(value, int) else float(value)
    return str(value).strip("\0 \t\r\n") or None


def kept(dataset: Dataset) -> dict[str, Any]:
    found = {}
    for element in dataset:
        if element.keyword in TAGS:
            found[element.keyword] = plain(element.value)
    return {keyword: value for keyword, value in found.items() if value is not None}


def public(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Without private elements, and without what stands in the file meta information."""
    found = {}
    for keyword, value in tags.items():
        if isinstance(value, tuple) and value and isinstance(value[0], Mapping):
            value = tuple(public(item) for item in value)
        if ":" not in keyword and keyword != "TransferSyntaxUID":
            found[keyword] = value
    return found


def check_equal(path: Path) -> bool:
    """Whether ``path`` was compared."""
    try:
        ours = public(parse(path).tags)
    except (NotDicomError, FileFormatError):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(path, force=True, stop_before_pixels=True)
        theirs = kept(dataset)
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        theirs.setdefault(keyword, plain(dataset.file_meta.get(f"MediaStorage{keyword}")))
    theirs = {keyword: value for keyword, value in theirs.items() if value is not None}
    unreadable = {keyword for keyword, value in ours.items() if value is UNREADABLE}
    assert unreadable <= {"NumberOfFrames"}, path  # "1A" in badVR.dcm
    assert {k: v for k, v in ours.items() if k not in unreadable} == {
        k: v for k, v in theirs.items() if k not in unreadable
    }, path
    return True


def files_under(folder: Path) -> Iterator[Path]:
    yield from (p for p in sorted(folder.rglob("*")) if p.is_file())


def test_of_pydicoms_own_files() -> None:
    folder = Path(str(get_testdata_file("CT_small.dcm"))).parent
    compared = [path.name for path in files_under(folder) if check_equal(path)]
    assert len(compared) > 120
    assert {"priv_SQ.dcm", "nested_priv_SQ.dcm", "UN_sequence.dcm", "image_dfl.dcm", "ExplVR_BigEndNoMeta.dcm"} <= set(
        compared
    )


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "each", "least"),
    [
        ("dcm_qa_enh_multiframe", 1, 5),
        ("dcmqi_seg_paramap_sr", 1, 15),
        ("highdicom_test_files", 1, 20),
        ("dcm_qa_ct", 7, 4),
        ("dcm_qa_nih", 40, 7),
        ("lung_ct_gtv_ibsi_phantom", 20, 3),
        ("sarcoma_pet_ct_mr", 20, 6),
        ("totalsegmentator_refs", 5, 3),
    ],
)
def test_of_real_files(real_data: Callable[[str], Path], name: str, each: int, least: int) -> None:
    files = [p for p in files_under(real_data(name)) if p.read_bytes()[128:132] == b"DICM"]
    assert sum(check_equal(path) for path in files[::each]) >= least


def test_numbers_and_representations_are_those_of_the_standard() -> None:
    assert len(TAGS) == len({w.keyword for w in KNOWN.values()} - {""}) > 250
    for entry in KNOWN.values():
        if entry.kind in (Kind.CREATOR, Kind.PIXELS, Kind.STRAY, Kind.END):
            continue
        group, element = TAGS[entry.keyword]
        assert tag_for_keyword(entry.keyword) == group << 16 | element
        allowed = dictionary_VR((group, element)).split(" or ")
        assert entry.vr.decode() in allowed or (entry.vr == b"XS" and allowed == ["US", "SS"]), entry
    # what pydicom knows too; it has other representations for none
    known = [
        (0x0029, 0x10, "SIEMENS CSA HEADER"),
        (0x0019, 0x27, "SIEMENS MR HEADER"),
        (0x0043, 0x39, "GEMS_PARM_01"),
        (0x0009, 0x0D, "GEMS_PETD_01"),
        (0x2001, 0x03, "Philips Imaging DD 001"),
        (0x2005, 0x0E, "Philips MR Imaging DD 001"),
        (0x7053, 0x00, "Philips PET Private Group"),
        (0x7053, 0x09, "Philips PET Private Group"),
    ]
    for group, low, creator in known:
        entry = reserved(group, 0x10, creator)[(0x1000 | low) << 16 | group]
        assert entry.keyword == f"{group:04X},{low:02X}:{creator}"
        assert entry.vr.decode() == private_dictionary_VR((group, 0x1000 | low), creator)


def _write(path: Path, ds: Dataset, syntax: str = "explicit") -> Path:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = SYNTAXES[syntax]
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3"
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality, ds.SeriesInstanceUID = (
        "1.2.840.10008.5.1.4.1.1.4", "1.2.3", "MR", "1.2.4",
    )  # fmt: skip
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_private_elements_are_named_by_their_creator(tmp_path: Path, syntax: str) -> None:
    ds = Dataset()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    ds.private_block(0x0029, "SOMEBODY ELSE", create=True).add_new(0x10, "OB", b"not this")
    siemens = ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True)  # takes the next free block
    siemens.add_new(0x10, "OB", b"SV10" + bytes(300))
    siemens.add_new(0x20, "OB", b"long")
    ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "1000")
    ds.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x09, "DS", "0.25")
    ds.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "IS", [800, 6, 0, 0])
    ds.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x03, "FL", 500.0)
    assert (0x0029, 0x1110) in ds
    tags = read_header(_write(tmp_path / "a.dcm", ds, syntax)).tags
    assert {k: v for k, v in tags.items() if ":" in k} == {
        "0029,10:SIEMENS CSA HEADER": b"SV10" + bytes(300),
        "0019,0C:SIEMENS MR HEADER": 1000,
        "7053,09:Philips PET Private Group": 0.25,
        "0043,39:GEMS_PARM_01": (800, 6, 0, 0),
        "2001,03:Philips Imaging DD 001": 500.0,
    }


def test_private_elements_of_unknown_representation_and_of_mosaics(tmp_path: Path) -> None:
    ds = Dataset()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    block = ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x20, "UN", b"series header ")
    ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "UN", b"1000")
    ds.private_block(0x0019, "SIEMENS MR HEADER").add_new(0x0A, "UN", b"\x1e\0")
    header = read_header(_write(tmp_path / "a.dcm", ds))
    assert header.tags["0029,20:SIEMENS CSA HEADER"] == b"series header "
    assert header.integer("0019,0C:SIEMENS MR HEADER") == 1000
    assert header.integer("0019,0A:SIEMENS MR HEADER") == 30


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(("representation", "padding"), [(0, 63536), (1, -2000)])
def test_sign_follows_pixel_representation(tmp_path: Path, syntax: str, representation: int, padding: int) -> None:
    ds, item = Dataset(), Dataset()
    ds.PixelRepresentation, ds.PixelPaddingValue, ds.PixelPaddingRangeLimit = representation, padding, padding
    item.RealWorldValueFirstValueMapped, item.RealWorldValueLastValueMapped = padding, 100
    item.RealWorldValueSlope, item.RealWorldValueIntercept = 0.5, -3.0
    ds.RealWorldValueMappingSequence = [item]
    tags = read_header(_write(tmp_path / "a.dcm", ds, syntax)).tags
    assert tags["PixelPaddingValue"] == tags["PixelPaddingRangeLimit"] == padding
    (mapping,) = tags["RealWorldValueMappingSequence"]
    assert mapping["RealWorldValueFirstValueMapped"] == padding
    assert (mapping["RealWorldValueSlope"], mapping["RealWorldValueIntercept"]) == (0.5, -3.0)


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("ISO_IR 100", "Schädel-CT für Köpfe"),
        ("ISO_IR 192", "头部 CT"),
        ("GB18030", "胸部\\平扫"),
        ("ISO_IR 144", "Грудь"),
        (["", "ISO 2022 IR 87"], "頭部"),
        ("", "plain"),
    ],
)
def test_character_sets(tmp_path: Path, charset: Any, text: str) -> None:
    ds = Dataset()
    if charset:
        ds.SpecificCharacterSet = charset
    ds.SeriesDescription = text.split("\\") if "\\" in text else text
    path = _write(tmp_path / "a.dcm", ds)
    assert read_header(path).text("SeriesDescription") == text
    assert check_equal(path)


def test_wrong_character_set_is_no_error(tmp_path: Path) -> None:
    ds = Dataset()
    ds.SpecificCharacterSet, ds.SeriesDescription = "ISO_IR 100", "Schädel"
    path = _write(tmp_path / "a.dcm", ds)
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"NONSENSE 7"))
    assert read_header(path).text("SeriesDescription").startswith("Sch")


@pytest.mark.parametrize(
    ("keyword", "old", "new"),
    [
        ("EchoTime", b"12.50 ", b"12,50 "),
        ("EchoTime", b"12.50 ", b"1_2.5 "),
        ("InstanceNumber", b"123456", b"12.5  "),
        ("InstanceNumber", b"123456", b"9e9999"),
        ("FrameOfReferenceUID", b"1.2.5\0", b"../../"),
        ("ProtocolName", b"protoc", b"pr\0toc"),
        ("ConvolutionKernel", b"kernel", b"ke\x10nel"),
        ("BodyPartExamined", b"THORAX", b"THO\nAX"),
    ],
)
def test_values_that_make_no_sense(tmp_path: Path, keyword: str, old: bytes, new: bytes) -> None:
    ds = Dataset()
    ds.EchoTime, ds.InstanceNumber, ds.FrameOfReferenceUID = "12.50", 123456, "1.2.5"
    ds.ProtocolName, ds.ConvolutionKernel, ds.BodyPartExamined = "protoc", "kernel", "THORAX"
    path = _write(tmp_path / "a.dcm", ds)
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    header = read_header(path)
    assert header.tags[keyword] is UNREADABLE
    assert header.text(keyword, "none") == "none"
    with pytest.raises(SeriesError, match=f"{keyword} .* is unreadable, not 1 finite number"):
        header.number(keyword)


def test_texts_are_one_line(tmp_path: Path) -> None:
    ds = Dataset()
    ds.SeriesDescription = "first line\r\nsecond\tline"
    assert read_header(_write(tmp_path / "a.dcm", ds)).text("SeriesDescription") == "first line second line"


def test_numbers_of_a_header() -> None:
    header = Header("a", 1, {"Rows": 5, "PixelSpacing": (0.5, math.inf), "ImageType": "MOSAIC", "EchoTime": ("", 1.0)})
    assert header.integer("Rows") == 5
    assert header.number("Columns", 7.0) == 7
    assert header.image_type == ("MOSAIC",)
    for keyword in ("PixelSpacing", "EchoTime"):
        with pytest.raises(SeriesError, match=r"is .*, not 2 finite"):
            header.numbers(keyword, 2)
    with pytest.raises(SeriesError, match=r"Columns \(0028,0011\) is absent"):
        header.number("Columns")
    assert (header.frame, header.tile) == (None, None)


def test_names_of_elements() -> None:
    assert tag_name("PixelSpacing") == "PixelSpacing (0028,0030)"
    assert tag_name("PatientName") == "PatientName (0010,0010)"  # not kept, and yet known


@pytest.mark.parametrize("keep", ["Modality", "SeriesInstanceUID"])
def test_a_header_without_its_keys_is_damaged(tmp_path: Path, keep: str) -> None:
    path = _write(tmp_path / "a.dcm", Dataset())
    ds = dcmread(path)
    del ds[keep]
    ds.save_as(path)
    with pytest.raises(FileFormatError, match="Modality or SeriesInstanceUID is lost"):
        read_header(path)


def test_nobody_is_named(tmp_path: Path) -> None:
    ds = Dataset()
    ds.PatientName, ds.PatientBirthDate, ds.PatientAddress = "Canary^A", "19010203", "Canary Street 1"
    ds.AccessionNumber, ds.InstitutionName, ds.OperatorsName = "CanaryAcc", "Canary Hospital", "Canary^B"
    ds.PatientComments, ds.ImageComments, ds.StationName = "Canary c", "Canary d", "CANARY1"
    ds.DeviceSerialNumber, ds.PatientID, ds.PatientWeight = "Canary9", "the key", 70.5
    header = read_header(_write(tmp_path / "a.dcm", ds))
    assert "canary" not in repr(dict(header.tags)).lower()
    assert "19010203" not in repr(dict(header.tags))
    assert (header.text("PatientID"), header.number("PatientWeight")) == ("the key", 70.5)
