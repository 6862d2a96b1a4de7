"""Forty planted identifiers: none is in a log, a warning or an error, whatever is wrong with the files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from tests.io.dicom.parsing.mutations import mutated
from tests.io.dicom.pixel_files import DEFLATED, EXPLICIT, IMPLICIT, J2K, RLE, numbers, pixel_file

# Does with every folder what the library can do, and writes down all that a person or a log would see.
PROGRAM = """
import json, logging, sys, tempfile
from pathlib import Path
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
import isocenter.io.dicom as dicom
from isocenter.errors import IsocenterError
from isocenter.io.dicom.rtstruct import rtstruct_header
from isocenter.io.dicom.values.suv import suv_factors
from isocenter.workflow.converting import convert
from isocenter.workflow.deidentifying import deidentify
from isocenter.workflow.dicomtree import look_into

def uses(folder):
    def scan():
        found = dicom.scan_folder(folder)
        for text in found.damaged.values():
            print(text, file=sys.stderr)
        return found.series
    yield scan
    for series in dicom.find_series(folder):
        yield series.stacks
        yield series.stack
        yield lambda: [print(aside.reason, file=sys.stderr) for aside in series.aside]
        try:
            stacks = series.stacks()
        except IsocenterError:
            continue
        for stack in stacks:
            yield lambda: [print(p.text, file=sys.stderr) for p in stack.problems()]
            yield stack.volume
            yield stack.values
            yield lambda: print(stack.flags(), file=sys.stderr)
            yield lambda: suv_factors(stack.headers)
        yield lambda: dicom.read_seg(series.headers[0].file)
        yield lambda: rtstruct_header(series.headers[0].file)
    if whole:
        yield lambda: convert(folder, out=Path(tempfile.mkdtemp(), "out"), anonymous=True)
        yield lambda: deidentify(folder, out=Path(tempfile.mkdtemp(), "out"))
        yield lambda: look_into(Path(folder))

refused = 0
for line in sys.stdin:
    folder, whole = json.loads(line)
    for use in uses(folder):
        try:
            use()
        except IsocenterError as error:
            refused += 1
            print(folder, error, file=sys.stderr)
print(refused)
"""

PLANTED: dict[str, str] = {
    "PatientName": "Kanarek^Jolanta",
    "PatientID": "KID-770011",
    "PatientBirthDate": "19310517",
    "PatientBirthTime": "042317",
    "PatientBirthName": "Wrobel^Jolanta",
    "PatientMotherBirthName": "Sikora^Zofia",
    "OtherPatientNames": "Kanarkowa^Jola",
    "PatientAddress": "Ptasia 17 Lipnica",
    "PatientTelephoneNumbers": "600700811",
    "MilitaryRank": "Podporucznik",
    "EthnicGroup": "Kaszubka",
    "Occupation": "Ornitolog",
    "PatientReligiousPreference": "Arianka",
    "PatientComments": "kicha po piorach",
    "AdditionalPatientHistory": "ugryziona przez papuge",
    "AccessionNumber": "ACC660022",
    "StudyID": "SID550033",
    "InstitutionName": "Szpital Pod Gilem",
    "InstitutionAddress": "Gilowa 3 Zimna",
    "InstitutionalDepartmentName": "Oddzial Gila",
    "StationName": "GIL-STACJA",
    "DeviceSerialNumber": "SN440044",
    "ReferringPhysicianName": "Dziob^Adam",
    "PerformingPhysicianName": "Szpon^Ewa",
    "OperatorsName": "Piorko^Olga",
    "PhysiciansOfRecord": "Gniazdo^Piotr",
    "NameOfPhysiciansReadingStudy": "Skrzydlo^Anna",
    "RequestingPhysician": "Jajko^Marek",
    "StudyDescription": "badanie Kanarkowej",
    "SeriesDescription": "seria dla Kanarkowej",
    "ProtocolName": "protokol pani Joli",
    "PerformedProcedureStepDescription": "krok pani Joli",
    "RequestedProcedureDescription": "prosba pani Joli",
    "ImageComments": "obraz pani Joli",
    "StudyDate": "20190423",
    "AcquisitionDate": "20190424",
    "ContentDate": "20190425",
    "SoftwareVersions": "wersja Kanarek",
}
PRIVATE = {"private text": "Tajna Sroka", "private name": "Tajny^Gawron", "private of a known maker": "Tajny Kos"}
SECRET = [*PLANTED.values(), *PRIVATE.values(), "Ukryta^Pliszka", "PREAMBULA SOWY", "9.8.7.KUKULKA"]
_PARTS = sorted({part for text in SECRET for part in re.split(r"[\^ ]", text) if len(part) > 5})


def _plant(ds: Dataset) -> None:
    for keyword, value in PLANTED.items():
        setattr(ds, keyword, value)
    ds.private_block(0x0011, "SOMEBODY", create=True).add_new(1, "LO", PRIVATE["private text"])
    ds.private_block(0x0011, "SOMEBODY").add_new(2, "PN", PRIVATE["private name"])
    ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(
        0x10, "OB", b"SV10" + PRIVATE["private of a known maker"].encode() + b"!"
    )
    other = Dataset()
    other.PatientName, other.ReferencedSOPInstanceUID = "Ukryta^Pliszka", "9.8.7.KUKULKA"
    ds.OtherPatientIDsSequence = ds.ReferencedImageSequence = [other]
    ds.preamble = b"PREAMBULA SOWY".ljust(128, b"\0")


def _slice(number: int) -> Callable[[Dataset], None]:
    def edit(ds: Dataset) -> None:
        _plant(ds)
        del ds.NumberOfFrames
        ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID = "1.2.3.1", "1.2.3.2", "1.2.3.3"
        ds.ImageType, ds.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], number
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [1, 2, 3.0 * number], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness, ds.RescaleSlope, ds.RescaleIntercept = [0.5, 0.5], 3, 1, -1024

    return edit


def _without(keyword: str) -> Callable[[Dataset], None]:
    return lambda ds: ds.pop(keyword, None)


def _set(**values: Any) -> Callable[[Dataset], None]:
    return lambda ds: [setattr(ds, keyword, value) for keyword, value in values.items()] and None


REFUSED: dict[str, Callable[[Dataset], None]] = {
    "missing": _set(ImagePositionPatient=[1, 2, 40]),
    "duplicate": _set(ImagePositionPatient=[1, 2, 6]),
    "patients": _set(PatientID="KID-880099", PatientName="Inny^Ptak"),
    "frames of reference": _set(FrameOfReferenceUID="1.2.9"),
    "sizes": _set(Rows=11),
    "colour": _set(PhotometricInterpretation="RGB", SamplesPerPixel=3),
    "frames": _set(NumberOfFrames=7),
    "enhanced": _set(SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1", Modality="MR", NumberOfFrames=2),
    "mosaic": _set(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"], Modality="MR"),
    "text for numbers": _set(PixelSpacing=None, ImageOrientationPatient=[1, 0]),
    "no position": _without("ImagePositionPatient"),
    "no rows": _without("Rows"),
    "no class": _without("SOPClassUID"),
    "PET": _set(SOPClassUID="1.2.840.10008.5.1.4.1.1.128", Modality="PT", Units="BQML", PatientWeight=None),
    "SEG": _set(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG"),
    "RTSTRUCT": _set(SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", Modality="RTSTRUCT"),
    "report": _set(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", Modality="SR"),
    "capture": _set(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"),
    "no UIDs": _set(SeriesInstanceUID="", StudyInstanceUID="", SOPInstanceUID=""),
    "UIDs with a name": _set(SeriesInstanceUID="9.8.7.KUKULKA", FrameOfReferenceUID="9.8.7.KUKULKA"),
    "burned in": _set(BurnedInAnnotation="YES"),
    "lookup table": _set(ModalityLUTSequence=[Dataset()]),
}


def _run(folders: list[tuple[Path, bool]]) -> tuple[str, int]:
    """What was said, and how often something was refused."""
    given = "".join(json.dumps((str(folder), whole)) + "\n" for folder, whole in folders)
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", PROGRAM], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr, int(done.stdout)


def _found(said: str) -> list[str]:
    return [f"{part}: {line[:300]}" for line in said.splitlines() for part in _PARTS if part.lower() in line.lower()]


def _image(path: Path, syntax: str, *edits: Callable[[Dataset], None]) -> bytes:
    pixel_file(path, numbers((1, 12, 10), "u2", bits=12), syntax, stored=12, edit=lambda ds: [e(ds) for e in edits])
    return path.read_bytes()


def test_forty_are_planted(tmp_path: Path) -> None:
    data = _image(tmp_path / "a.dcm", EXPLICIT, _slice(1))
    assert len(SECRET) >= 40
    for secret in SECRET:
        assert secret.encode() in data, secret
    assert _found("INFO: Kanarek") == ["Kanarek: INFO: Kanarek"]


def test_none_is_told_of_refused_files(tmp_path: Path) -> None:
    for name, edit in REFUSED.items():
        folder = tmp_path / name
        folder.mkdir()
        for number in range(4):
            _image(folder / f"{number}.dcm", EXPLICIT, _slice(number), *([edit] if number == 2 else []))
    said, refused = _run([(folder, True) for folder in sorted(tmp_path.iterdir())])
    assert refused > len(REFUSED) * 2
    assert _found(said) == []


def test_none_is_told_of_damaged_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = [_image(tmp_path / "a.dcm", syntax, _slice(1)) for syntax in (EXPLICIT, IMPLICIT, DEFLATED, RLE, J2K)]
    (tmp_path / "a.dcm").unlink()
    for number in range(400):
        folder = tmp_path / f"{number:03d}"
        folder.mkdir()
        bad = mutated(whole[number % len(whole)], 10_000 + number)
        (folder / "a.dcm").write_bytes(bad if rng.random() < 0.9 else bad[: int(rng.integers(len(bad)))])
    said, refused = _run([(folder, number % 20 == 0) for number, folder in enumerate(sorted(tmp_path.iterdir()))])
    assert refused > 200
    assert _found(said) == []


@pytest.mark.parametrize("tag", ["ImageType", "Modality", "PhotometricInterpretation", "SOPClassUID", "PixelSpacing"])
def test_none_is_told_where_a_length_swallows_what_follows(tmp_path: Path, tag: str) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    kind = ["ORIGINAL", "PRIMARY", "MOSAIC" if tag == "ImageType" else "AXIAL"]  # which is told
    for syntax, width, order in ((EXPLICIT, 2, 6), (IMPLICIT, 4, 4)):
        raw = bytearray(
            _image(folder / "a.dcm", syntax, _slice(1), _set(ImageType=kind, SOPInstanceUID=generate_uid()))
        )
        place = _place(raw, tag)
        for stop in range(place + 8, min(place + 900, len(raw)), 2):
            at = place + order
            raw[at : at + width] = (stop - place - 8).to_bytes(width, "little")
            (folder / "a.dcm").write_bytes(raw)
            said = _say(folder)
            assert _found(said) == []


def _place(raw: bytes | bytearray, keyword: str) -> int:
    from pydicom.datadict import tag_for_keyword

    tag = int(tag_for_keyword(keyword) or 0)
    return raw.index((tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little"), 132)


def _say(folder: Path) -> str:
    from isocenter.errors import IsocenterError
    from isocenter.io.dicom import scan_folder

    said = []
    scan = scan_folder(folder)
    said += scan.damaged.values()
    for series in scan.series:
        said += [aside.reason for aside in series.aside]
        try:
            for stack in series.stacks():
                said += [problem.text for problem in stack.problems()]
                stack.volume()
        except IsocenterError as error:
            said.append(str(error))
    return "\n".join(said)
