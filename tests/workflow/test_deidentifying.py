"""The verb `deidentify` on whole studies, with identifiers planted in every place where some have been found."""

from __future__ import annotations

import json
import logging
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence

from isocenter.io.dicom import find_series, read_seg, write_seg
from isocenter.io.dicom.deidentify import DeidentifyOptions
from isocenter.records import ConfigError, LabelSchema, SeriesError, Structure
from isocenter.volume import Volume
from isocenter.workflow.deidentifying import deidentify

IMAGES = "1.2.840.10008.5.1.4.1.1."
UIDS = "1.2.276.0.7230010.3.1"
OVERLAY = "Overlaymann"
KEEPING = DeidentifyOptions(
    shift_dates="auto",
    keep_device=True,
    keep_institution=True,
    keep_characteristics=True,
    keep_safe_private=True,
    clean_descriptors=True,
)
# what the options above keep is no leak under them
KEPT = {"institution", "institution address", "station", "serial number", "age", "contributing"}


@dataclass
class Planted:
    """Studies of two patients with identifiers in them, by the place where each was put."""

    folder: Path
    tokens: dict[str, str] = field(default_factory=dict)

    def plant(self, place: str, token: str) -> str:
        assert token not in self.tokens.values()
        self.tokens[place] = token
        return token


def base(modality: str, sop_class: str, number: int, series: int) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.Modality = IMAGES + sop_class, modality
    ds.SOPInstanceUID = f"{UIDS}.4711.{series}.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{UIDS}.8812", f"{UIDS}.9913.{series}"
    ds.FrameOfReferenceUID = f"{UIDS}.1014"
    ds.PatientName, ds.PatientID = "Quendolin^Xaveria", "MRN-00815-77"
    ds.StudyDate, ds.StudyTime, ds.InstanceNumber, ds.SeriesNumber = "20171123", "101112", number, series
    ds.PatientBirthDate, ds.PatientSex, ds.AccessionNumber, ds.StudyID = "19370411", "F", "ACC5551212", "STUD7781"
    ds.ReferringPhysicianName = "Zweistein^Albrecht"
    ds.Manufacturer, ds.ManufacturerModelName = "Maker", "Model"
    return ds


def pixels(ds: Dataset, number: int, shape: tuple[int, int] = (6, 8)) -> Dataset:
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = *shape, 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-10, -20, 2.5 * number], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.RescaleSlope, ds.RescaleIntercept = [0.75, 0.75], 2.5, 1, -1024
    ds.PixelData = np.random.default_rng(number).integers(0, 4096, shape).astype("<u2").tobytes()
    return ds


def save(path: Path, ds: Dataset, syntax: str = "1.2.840.10008.1.2.1", **meta: Any) -> Path:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID, ds.file_meta.ImplementationClassUID = syntax, f"{UIDS}.6617"
    for keyword, value in meta.items():
        setattr(ds.file_meta, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, ds, enforce_file_format=True)
    return path


def patient_attributes(p: Planted, ds: Dataset) -> None:
    p.tokens |= {"name": "Quendolin", "given name": "Xaveria", "patient id": "MRN-00815-77", "birth date": "19370411"}
    p.tokens |= {"study date": "20171123", "accession": "ACC5551212", "study id": "STUD7781", "referring": "Zweistein"}
    p.tokens |= {"study uid": f"{UIDS}.8812", "series uid": f"{UIDS}.9913", "instance uid": f"{UIDS}.4711"}
    p.tokens |= {"frame of reference": f"{UIDS}.1014", "implementation uid": f"{UIDS}.6617"}
    ds.OtherPatientIDs = p.plant("other id", "OTH-99121")
    ds.OtherPatientNames = p.plant("other name", "Pemberton") + "^X"
    ds.PatientMotherBirthName = p.plant("mother", "Ottokarina")
    ds.PatientAddress = p.plant("address", "Kastanienallee 41")
    ds.PatientTelephoneNumbers = p.plant("telephone", "+49 171 5550199")
    ds.PatientAge = p.plant("age", "080Y")
    ds.OperatorsName = p.plant("operator", "Opalinsky") + "^Tom"
    ds.PerformingPhysicianName = p.plant("performing", "Performax")
    ds.InstitutionName = p.plant("institution", "Marienhospital Buxtehude")
    ds.InstitutionAddress = p.plant("institution address", "Klosterweg 7")
    ds.StationName = p.plant("station", "CTROOM3B")
    ds.DeviceSerialNumber = p.plant("serial number", "SN-771-204")
    ds.AcquisitionDateTime = p.plant("acquisition time", "20171124081337.25")
    ds.PatientComments = p.plant("comments", "Sonderwunschkost")
    ds.StudyDescription = "CT abdomen " + p.plant("study description", "Quasimodorf")
    ds.SeriesDescription = "axial " + p.plant("series description", "Reihenhausen")
    ds.ImageComments = p.plant("image comments", "Bildkommentar")
    ds.ProtocolName = "thorax " + p.plant("protocol", "Protokollheim")


def hidden(p: Planted, ds: Dataset) -> None:
    """Identifiers in sequences, private and unknown elements, overlays, curves, and texts the table does not name."""
    block = ds.private_block(0x0029, "SOMEBODY", create=True)
    block.add_new(1, "LO", p.plant("private", "Privatissimus"))
    inner = Dataset()
    inner.PatientName = p.plant("private sequence", "Sequentia")
    block.add_new(2, "SQ", Sequence([inner]))
    block.add_new(3, "UN", p.plant("private bytes", "Bytesbury").encode())
    safe = ds.private_block(0x7053, "Philips PET Private Group", create=True)
    safe.add_new(0, "DS", "0.5")
    safe.add_new(4, "LO", p.plant("unsafe of a safe group", "Groupington"))
    request = Dataset()
    request.RequestedProcedureDescription = p.plant("request", "Auftraggeberin")
    request.RequestedProcedureID = p.plant("request id", "REQ-30303")
    ds.RequestAttributesSequence = Sequence([request])
    original = Dataset()
    original.PatientName = p.plant("original attributes", "Originella")
    modified = Dataset()
    modified.ModifiedAttributesSequence = Sequence([original])
    ds.OriginalAttributesSequence = Sequence([modified])
    reference = Dataset()
    reference.ReferencedSOPClassUID = IMAGES + "2"
    reference.ReferencedSOPInstanceUID = p.plant("referenced uid", f"{UIDS}.3333.1")
    reference.add_new(0x00080050, "SH", p.plant("nested accession", "ACCNEST1"))
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = f"{UIDS}.9913.7", Sequence([reference])
    ds.ReferencedSeriesSequence = Sequence([series])
    equipment = Dataset()
    equipment.Manufacturer, equipment.InstitutionName = "Other maker", p.plant("contributing", "Zulieferklinik")
    equipment.ContributionDateTime = p.plant("contribution time", "20171209112233")
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "109103", "DCM", "Modifying Equipment"
    equipment.PurposeOfReferenceCodeSequence = Sequence([purpose])
    ds.ContributingEquipmentSequence = Sequence([equipment])
    ds.add_new(0x60000010, "US", 6)
    ds.add_new(0x60000011, "US", 8)
    ds.add_new(0x60003000, "OW", p.plant("overlay", OVERLAY + "x").encode())
    ds.add_new(0x60004000, "LT", p.plant("overlay comment", "Overkommentar"))
    ds.add_new(0x50003000, "OW", p.plant("curve", "Kurvenreich").encode() + b"x")
    ds.add_new(0x00101FFE, "UN", p.plant("unknown attribute", "Unbekannt").encode() + b"x")
    ds.SoftwareVersions = "licensed to Quendolin"
    ds.ContrastBolusRoute = "IV, asked MRN-00815-77"
    ds.add_new(0xFFFAFFFA, "SQ", Sequence([signature(p)]))
    ds.DataSetTrailingPadding = p.plant("trailing padding", "Polsterung").encode()


def signature(p: Planted) -> Dataset:
    item = Dataset()
    item.CertificateOfSigner = p.plant("certificate", "Signaturius").encode() + b"x"
    return item


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    p = Planted(tmp_path_factory.mktemp("planted") / "input")
    folder = p.folder / p.plant("folder name", "Doe_Jonathan")
    for n in range(4):
        ds = pixels(base("CT", "2", n + 1, 1), n)
        if n == 0:
            patient_attributes(p, ds)
            hidden(p, ds)
            meta = {
                "SourceApplicationEntityTitle": p.plant("source ae", "AEBUXTEHUDE"),
                "SendingApplicationEntityTitle": p.plant("sending ae", "SENDBUX"),
                "PrivateInformationCreatorUID": f"{UIDS}.5551",
                "PrivateInformation": p.plant("meta information", "Metaphoria").encode(),
            }
            ds.preamble = (b"MZ" + p.plant("preamble", "Praeambelsen").encode()).ljust(128, b"\0")
        save(
            folder / f"{p.plant('file name', 'Doe_J_CT')}_1.dcm" if n == 0 else folder / f"ct{n}.dcm",
            ds,
            **(meta if n == 0 else {}),
        )
    for modality, sop_class, series in (("MR", "4", 2), ("PT", "128", 3)):
        for n in range(3):
            ds = pixels(base(modality, sop_class, n + 1, series), n)
            ds.SeriesDate, ds.SeriesTime, ds.AcquisitionDate, ds.AcquisitionTime = (
                "20171123",
                "1011",
                "20171123",
                "1015",
            )
            ds.PatientWeight, ds.PatientSize = 71.5, 1.68
            if modality == "PT":
                dose = Dataset()
                dose.RadiopharmaceuticalStartDateTime, dose.RadionuclideTotalDose = "20171123093000", 3.7e8
                ds.RadiopharmaceuticalInformationSequence = Sequence([dose])
            save(folder / modality / f"{n}.dcm", ds)
    objects(p, folder)
    (folder / "notes.txt").write_text("Quendolin")
    (folder / "bad").mkdir()
    (folder / "bad" / "broken.dcm").write_bytes((folder / "ct1.dcm").read_bytes()[:300])
    return p


def objects(p: Planted, folder: Path) -> None:
    """A segmentation and structures of the CT, and objects that have to be held back."""
    ct = sorted(folder.glob("*CT_1.dcm")) + sorted(folder.glob("ct*.dcm"))
    grid = next(s for s in find_series(folder) if s.modality == "CT").stack().grid()
    mask = np.zeros(grid.shape, np.uint8)
    mask[1:3, 2:4, 3:6] = 1
    schema = LabelSchema((Structure("lung", (1,)),))
    write_seg(folder / "seg.dcm", Volume(mask, grid, "label"), schema, ct, algorithm_name="a", algorithm_version="1")
    seg = dcmread(folder / "seg.dcm")
    seg.ContentCreatorName = p.plant("content creator", "Kreatorova")
    seg.SegmentSequence[0].TrackingUID = p.plant("tracking uid", f"{UIDS}.2222.1")
    seg.save_as(folder / "seg.dcm")
    rt = base("RTSTRUCT", "481.3", 1, 5)
    rt.StructureSetLabel, rt.StructureSetName = p.plant("structure set", "Strukturia"), "x"
    rt.StructureSetDate = p.plant("structure date", "20171201")
    roi, observation, frame = Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 1, p.plant("roi", "Tumorius"), f"{UIDS}.1014"
    roi.ROIGenerationAlgorithm = "MANUAL"
    observation.ObservationNumber, observation.ReferencedROINumber = 1, 1
    observation.RTROIInterpretedType, observation.ROIInterpreter = "GTV", p.plant("interpreter", "Interpretow")
    frame.FrameOfReferenceUID = f"{UIDS}.1014"
    rt.StructureSetROISequence, rt.RTROIObservationsSequence = Sequence([roi]), Sequence([observation])
    rt.ReferencedFrameOfReferenceSequence, rt.ApprovalStatus = Sequence([frame]), "UNAPPROVED"
    save(folder / "rt.dcm", rt)
    sr = base("SR", "88.33", 1, 6)
    text = Dataset()
    text.ValueType, text.RelationshipType, text.TextValue = "TEXT", "CONTAINS", p.plant("report", "Befundtext")
    sr.ContentSequence, sr.ValueType = Sequence([text]), "CONTAINER"
    save(folder / "sr.dcm", sr)
    pdf = base("DOC", "104.1", 1, 7)
    pdf.EncapsulatedDocument, pdf.MIMETypeOfEncapsulatedDocument = b"%PDF " + p.plant("pdf", "Pdfowski").encode(), "x"
    save(folder / "pdf.dcm", pdf)
    save(folder / "sc.dcm", pixels(base("OT", "7", 1, 8), 1))
    commented = pixels(base("CT", "2", 9, 9), 1)
    commented.PixelData = encapsulate([b"\xff\xd8\xff\xfe\x00\x0bQUENDOLIN\xff\xd9x"])
    commented["PixelData"].is_undefined_length = True
    save(folder / "jpeg.dcm", commented, "1.2.840.10008.1.2.4.70")


def found_in(folder: Path, tokens: dict[str, str]) -> list[str]:
    """Which tokens are in names or bytes of a folder, in either case, in 8-bit or UTF-16 text."""
    leaks = []
    for path in sorted(folder.rglob("*")):
        text = path.relative_to(folder).as_posix().encode()
        data = (path.read_bytes() if path.is_file() else b"") + b"\n" + text
        lowered = data.lower()
        for place, token in tokens.items():
            if token.lower().encode() in lowered or token.lower().encode("utf-16-le") in lowered:
                leaks.append(f"{place}: {path.relative_to(folder)}")
    return leaks


@pytest.mark.parametrize(
    "options",
    [DeidentifyOptions(), DeidentifyOptions(clean_descriptors=True), KEEPING],
    ids=["basic", "descriptors", "keeping"],
)
def test_nothing_that_was_planted_is_found(
    planted: Planted, tmp_path: Path, options: DeidentifyOptions, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(planted.tokens) > 60
    everywhere = found_in(planted.folder, planted.tokens)
    assert {leak.partition(":")[0] for leak in everywhere} == set(planted.tokens)  # all of them were there
    caplog.set_level(logging.DEBUG)
    done = deidentify(planted.folder, out=tmp_path / "out", options=options)
    tokens = {k: v for k, v in planted.tokens.items() if options != KEEPING or k not in KEPT}
    assert found_in(tmp_path / "out", tokens) == []
    said = json.dumps(done.to_dict()) + repr(done) + caplog.text
    assert [place for place, token in tokens.items() if token.lower() in said.lower()] == []
    assert {e["reason"] for e in done.held} == {
        *("structured-report", "document", "secondary-capture", "pixel-comment", "damaged"),
    }
    assert (done.written, done.patients, done.not_dicom) == (12, 1, 1)
    if options == KEEPING:
        first = next(f for f in (tmp_path / "out").rglob("*.dcm") if "StationName" in dcmread(f))
        ds = dcmread(first)
        assert (ds.StationName, ds.InstitutionName, ds.PatientAge) == ("CTROOM3B", "Marienhospital Buxtehude", "080Y")
        assert ds.StudyDescription == "CT abdomen"
        assert ds.SeriesDescription == "axial"
        assert ds.ProtocolName == "thorax"
        assert ds[0x70531000].value == 0.5


def test_what_the_files_say_of_it(planted: Planted, tmp_path: Path) -> None:
    deidentify(planted.folder, out=tmp_path / "out", options=KEEPING)
    for path in (tmp_path / "out").rglob("*.dcm"):
        ds = dcmread(path)
        assert ds.PatientIdentityRemoved == "YES"
        assert ds.LongitudinalTemporalInformationModified == "MODIFIED"
        codes = [(i.CodeValue, i.CodingSchemeDesignator) for i in ds.DeidentificationMethodCodeSequence]
        assert codes == [(f"1131{n:02d}", "DCM") for n in (0, 5, 7, 8, 9, 11, 12)]
        assert "Isocenter" in ds.DeidentificationMethod[0]
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert {e.keyword for e in ds.file_meta} == {
            *("FileMetaInformationGroupLength", "FileMetaInformationVersion", "MediaStorageSOPClassUID"),
            *("MediaStorageSOPInstanceUID", "TransferSyntaxUID", "ImplementationClassUID", "ImplementationVersionName"),
        }
        assert path.read_bytes()[:128] == bytes(128)
        assert str(ds.PatientName) == ds.PatientID == path.relative_to(tmp_path / "out").parts[0]
        assert re.fullmatch(
            r"P[A-Z2-7]{12}/2\.25\.\d+/2\.25\.\d+/\d{4}\.dcm", path.relative_to(tmp_path / "out").as_posix()
        )


def test_images_and_references_stay_what_they_were(planted: Planted, tmp_path: Path) -> None:
    deidentify(planted.folder, out=tmp_path / "out")
    kinds = ("CT", "MR", "PT")
    before = {s.modality: s for s in find_series(planted.folder) if s.modality in kinds and len(s.headers) > 1}
    after = {s.modality: s for s in find_series(tmp_path / "out")}
    assert set(after) == {*kinds, "SEG", "RTSTRUCT"}
    for kind in kinds:
        old, new = before[kind].stack().volume(), after[kind].stack().volume()
        np.testing.assert_array_equal(new.array, old.array)
        np.testing.assert_array_equal(new.grid.affine, old.grid.affine)
        assert new.unit == old.unit
    grid = after["CT"].stack().grid()
    masks, _, source = read_seg(after["SEG"].headers[0].file, grid=grid)
    assert source == after["CT"].uid
    assert masks.array.sum() == 12
    seg = dcmread(after["SEG"].headers[0].file)
    images = {dcmread(h.file).SOPInstanceUID for h in after["CT"].headers}
    referenced = {i.ReferencedSOPInstanceUID for i in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert referenced == images
    per_frame = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert per_frame.ReferencedSOPInstanceUID in images
    frames = {str(dcmread(s.headers[0].file).get("FrameOfReferenceUID")) for s in after.values()}
    rt = dcmread(after["RTSTRUCT"].headers[0].file)
    assert {rt.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID} == frames
    assert rt.StructureSetROISequence[0].ReferencedFrameOfReferenceUID in frames


def test_intervals_are_kept(planted: Planted, tmp_path: Path) -> None:
    def moments(ds: Dataset) -> list[datetime]:
        dose = ds.RadiopharmaceuticalInformationSequence[0]
        return [
            datetime.strptime(ds.AcquisitionDate + ds.AcquisitionTime, "%Y%m%d%H%M"),
            datetime.strptime(dose.RadiopharmaceuticalStartDateTime, "%Y%m%d%H%M%S"),
        ]

    deidentify(
        planted.folder, out=tmp_path / "out", options=DeidentifyOptions(shift_dates="auto"), key=tmp_path / "key"
    )
    old = dcmread(next((planted.folder).rglob("PT/0.dcm")))
    new = [dcmread(f) for f in (tmp_path / "out").rglob("*.dcm")]
    pet = next(ds for ds in new if ds.Modality == "PT")
    assert moments(pet)[0] - moments(pet)[1] == moments(old)[0] - moments(old)[1]
    shifts = {datetime.strptime(ds.StudyDate, "%Y%m%d") - datetime(2017, 11, 23) for ds in new}
    assert len(shifts) == 1
    assert -3650 <= shifts.pop().days <= -1


def test_the_same_key_gives_the_same_files(planted: Planted, tmp_path: Path) -> None:
    runs = [("a", "key"), ("b", "key"), ("c", "other")]
    for out, key in runs:
        deidentify(planted.folder, out=tmp_path / out, key=tmp_path / key)
    names = [
        {f.relative_to(tmp_path / out).as_posix(): f.read_bytes() for f in (tmp_path / out).rglob("*.*") if f.is_file()}
        for out, _ in runs
    ]
    assert names[0] == names[1]
    assert not (set(names[0]) & set(names[2])) - {"report.json"}
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_the_mapping_is_written_on_request_for_its_owner(planted: Planted, tmp_path: Path) -> None:
    done = deidentify(planted.folder, out=tmp_path / "out", mapping=tmp_path / "map.json")
    assert stat.S_IMODE((tmp_path / "map.json").stat().st_mode) == 0o600
    found = json.loads((tmp_path / "map.json").read_text())
    assert list(found["patients"]) == ["MRN-00815-77"]
    written = [f for f in found["files"] if not f["held"]]
    assert len(written) == done.written
    for entry in written:
        old, new = dcmread(planted.folder / entry["source"]), dcmread(tmp_path / "out" / entry["file"])
        assert found["uids"][old.SOPInstanceUID] == new.SOPInstanceUID
        assert new.PatientID == found["patients"]["MRN-00815-77"]["pseudonym"]
    held = {entry["source"]: entry["held"] for entry in found["files"] if entry["held"]}
    assert held[next(s for s in held if s.endswith("broken.dcm"))] == "damaged"
    assert done.sources[1] == found["files"][0]["source"]
    assert not list((tmp_path / "out").rglob("map*"))
    with pytest.raises(ConfigError, match="is there already"):
        deidentify(planted.folder, out=tmp_path / "again", mapping=tmp_path / "map.json")


def test_pseudonyms_from_a_table(planted: Planted, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.dcm", pixels(base("CT", "2", 1, 1), 1))
    other = pixels(base("CT", "2", 2, 2), 1)
    other.PatientID = "somebody else"
    save(tmp_path / "in" / "b.dcm", other)
    (tmp_path / "p.csv").write_text("patient,pseudonym\nMRN-00815-77,Trial-01\n")
    done = deidentify(tmp_path / "in", out=tmp_path / "out", patients=tmp_path / "p.csv")
    assert [p.name for p in (tmp_path / "out").iterdir() if p.is_dir()] == ["Trial-01"]
    assert [(e["file"], e["reason"]) for e in done.held] == [(2, "unlisted-patient")]


def test_images_with_names_in_them_only_on_request(planted: Planted, tmp_path: Path) -> None:
    done = deidentify(planted.folder, out=tmp_path / "out", options=DeidentifyOptions(keep_burned_in=True))
    assert done.written == 13
    assert done.held_by_reason == {"structured-report": 1, "document": 1, "pixel-comment": 1, "damaged": 1}
    assert any("1 secondary-capture" in w for w in done.warnings)
    entry = next(e for e in done.held if e["reason"] == "document")
    assert set(entry) == {"file", "reason", "text", "patient", "study", "series", "instance"}


def test_heads_are_warned_of_and_duplicates_are_not_written_twice(tmp_path: Path) -> None:
    ds = pixels(base("MR", "4", 1, 1), 1)
    ds.BodyPartExamined = "BRAIN"
    save(tmp_path / "in" / "a.dcm", ds)
    shutil.copy(tmp_path / "in" / "a.dcm", tmp_path / "in" / "b.dcm")
    done = deidentify(tmp_path / "in", out=tmp_path / "out")
    assert any("face" in w for w in done.warnings)
    assert [(e["file"], e["reason"]) for e in done.held] == [(2, "duplicate")]
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == json.loads(json.dumps(done.to_dict()))


@pytest.mark.parametrize("syntax", ["1.2", "1.2.1", "1.2.2", "1.2.1.99"])
def test_every_encoding(tmp_path: Path, syntax: str) -> None:
    ds = pixels(base("CT", "2", 1, 1), 1)
    if syntax == "1.2.2":
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    ds.add_new(0x00280106, "US", 3)  # US or SS: ambiguous without a VR
    ds.private_block(0x0029, "SOMEBODY", create=True).add_new(1, "LO", "Privatissimus")
    save(tmp_path / "in" / "a.dcm", ds, "1.2.840.10008." + syntax)
    deidentify(tmp_path / "in", out=tmp_path / "out")
    (path,) = (tmp_path / "out").rglob("*.dcm")
    new = dcmread(path)
    assert new.file_meta.TransferSyntaxUID == "1.2.840.10008." + syntax
    np.testing.assert_array_equal(new.pixel_array, dcmread(tmp_path / "in" / "a.dcm").pixel_array)
    assert new.SmallestImagePixelValue == 3
    assert found_in(tmp_path / "out", {"private": "Privatissimus", "name": "Quendolin"}) == []


def test_a_file_that_is_encoded_otherwise_than_it_says(tmp_path: Path) -> None:
    """Seen in the wild: no VRs in a file that says that it has them."""
    ds = pixels(base("CT", "2", 1, 1), 1)
    ds.add_new(0x00280106, "US", 3)
    path = save(tmp_path / "in" / "a.dcm", ds, "1.2.840.10008.1.2")
    # a longer UID needs two more bytes, and the group says how long it is
    old = path.read_bytes().replace(b"UI\x12\x001.2.840.10008.1.2\0", b"UI\x14\x001.2.840.10008.1.2.1\0")
    length = int.from_bytes(old[140:144], "little") + 2
    path.write_bytes(old[:140] + length.to_bytes(4, "little") + old[144:])
    deidentify(tmp_path / "in", out=tmp_path / "out")
    (path,) = (tmp_path / "out").rglob("*.dcm")
    new = dcmread(path)
    assert not new.is_implicit_VR
    assert new.SmallestImagePixelValue == 3
    np.testing.assert_array_equal(new.pixel_array, ds.pixel_array)


def test_compressed_pixels_are_copied_byte_by_byte(tmp_path: Path) -> None:
    ds = pixels(base("CT", "2", 1, 1), 1)
    ds.PixelData = encapsulate([b"\xff\xd8 whatever stands here \xff\xd9", b"and here"], has_bot=True)
    ds["PixelData"].is_undefined_length = True
    ds.DataSetTrailingPadding = b"Polsterung"
    save(tmp_path / "in" / "a.dcm", ds, "1.2.840.10008.1.2.4.70")
    deidentify(tmp_path / "in", out=tmp_path / "out")
    (path,) = (tmp_path / "out").rglob("*.dcm")
    assert dcmread(path).PixelData == ds.PixelData
    assert path.read_bytes().endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")


def test_a_name_behind_the_pixels_is_seen(tmp_path: Path) -> None:
    clean, dirty = (pixels(base("CT", "2", n, 1), n) for n in (1, 2))
    clean.PixelData += bytes(64)
    dirty.PixelData += b"here lies Quendolin".ljust(64)
    for n, ds in enumerate((clean, dirty)):
        save(tmp_path / "in" / f"{n}.dcm", ds)
    done = deidentify(tmp_path / "in", out=tmp_path / "out")
    assert [(e["file"], e["reason"]) for e in done.held] == [(2, "pixel-comment")]


def test_wrong_places(planted: Planted, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.dcm", pixels(base("CT", "2", 1, 1), 1))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for kwargs, said in (
        ({"out": tmp_path / "full"}, "is not empty"),
        ({"out": tmp_path / "in" / "out"}, "lies within the input"),
        ({"out": tmp_path / "out", "key": tmp_path / "out" / "key"}, "key: .* lies within"),
        ({"out": tmp_path / "out", "mapping": tmp_path / "out" / "m.json"}, "mapping: .* lies within"),
        ({"out": tmp_path / "out", "patients": tmp_path / "nowhere.csv"}, "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=said):
            deidentify(tmp_path / "in", **kwargs)
    with pytest.raises(ConfigError, match="no such folder"):
        deidentify(tmp_path / "nowhere", out=tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full", "in"]


def test_nothing_to_write(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "note.txt").write_text("Quendolin")
    with pytest.raises(SeriesError, match="no DICOM file is in it"):
        deidentify(tmp_path / "in", out=tmp_path / "out")
    save(tmp_path / "in" / "us.dcm", pixels(base("US", "6.1", 1, 1), 1))
    with pytest.raises(SeriesError, match=r"every file is held back \(1 ultrasound\)"):
        deidentify(tmp_path / "in", out=tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_bombs_are_held_back(tmp_path: Path) -> None:
    whole = save(tmp_path / "in" / "a.dcm", pixels(base("CT", "2", 1, 1), 1)).read_bytes()
    (tmp_path / "in" / "cut.dcm").write_bytes(whole[:-20])
    inner = Dataset()
    nested = pixels(base("CT", "2", 3, 1), 1)
    nested.ReferencedSeriesSequence = Sequence([inner])
    for _ in range(200):
        inner.ReferencedSeriesSequence = Sequence([Dataset()])
        inner = inner.ReferencedSeriesSequence[0]
    save(tmp_path / "in" / "nested.dcm", nested)
    done = deidentify(tmp_path / "in", out=tmp_path / "out")
    assert done.written == 1
    assert done.held_by_reason == {"damaged": 1, "duplicate": 1}
    (tmp_path / "in" / "a.dcm").rename(tmp_path / "in" / "later.dcm")  # the damaged one comes first
    done = deidentify(tmp_path / "in", out=tmp_path / "again")
    assert done.written == 1
    assert [(e["file"], e["reason"]) for e in done.held] == [(1, "damaged"), (3, "damaged")]


def test_a_zip(tmp_path: Path) -> None:
    save(tmp_path / "in" / "Doe_Jonathan.dcm", pixels(base("CT", "2", 1, 1), 1))
    shutil.make_archive(str(tmp_path / "disc"), "zip", tmp_path / "in")
    done = deidentify(tmp_path / "disc.zip", out=tmp_path / "out", mapping=tmp_path / "map.json")
    assert done.written == 1
    assert found_in(tmp_path / "out", {"name": "Quendolin", "file": "Jonathan"}) == []


def _errors(path: Path) -> set[str]:
    """Errors of dciodvfy without the values that they quote."""
    said = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    lines = (said.stdout + said.stderr).splitlines()
    return {re.sub(r"<[^>]*>|\d+", "", line) for line in lines if line.startswith("Error")}


@pytest.mark.peers
@pytest.mark.parametrize("options", [DeidentifyOptions(), KEEPING], ids=["basic", "keeping"])
def test_dciodvfy_finds_no_new_errors(
    real_data: Callable[[str], Path], tmp_path: Path, options: DeidentifyOptions
) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not here; apt-get install dicom3tools")
    picked = []
    for name in ("sarcoma_pet_ct_mr", "dcm_qa_nih", "dcm_qa_enh_multiframe", "dcmqi_seg_paramap_sr"):
        series = [s for s in find_series(real_data(name)) if s.modality in ("CT", "MR", "PT", "SEG", "RTSTRUCT")]
        picked += [s.headers[0].file for s in series[:6]]
    for n, file in enumerate(picked):
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "in" / f"{n:02d}.dcm")
    done = deidentify(tmp_path / "in", out=tmp_path / "out", options=options, mapping=tmp_path / "map.json")
    assert done.written == len(picked) >= 12
    new = {}
    for entry in json.loads((tmp_path / "map.json").read_text())["files"]:
        if not entry["held"]:
            errors = _errors(tmp_path / "out" / entry["file"]) - _errors(tmp_path / "in" / entry["source"])
            if errors:
                new[entry["source"]] = errors
    assert new == {}
