"""Files that are held back, by what they say of themselves."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from isocenter.io.dicom.deidentify.held import REASONS, face_risk, held_reason, pixel_reason

IMAGES = "1.2.840.10008.5.1.4.1.1."


def file(sop_class: str = "2", **values: Any) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = IMAGES + sop_class if sop_class[0] != "!" else sop_class[1:]
    dataset.Modality, dataset.Rows, dataset.Columns = "CT", 8, 8
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        (file(), None),
        (file("4", Modality="MR"), None),
        (file("128", Modality="PT"), None),
        (file("66.4", Modality="SEG"), None),
        (file("481.3", Modality="RTSTRUCT"), None),
        (file("104.1", Modality="DOC"), "document"),
        (file(EncapsulatedDocument=b"%PDF"), "document"),
        (file("88.33", Modality="SR"), "structured-report"),
        (file("88.59", Modality="KO"), "structured-report"),
        (file("9.4.1", Modality="AU"), "voice"),
        (file("!1.3.12.2.1107.5.9.1"), "private-class"),
    ],
)
def test_what_cannot_be_made_safe(dataset: Dataset, reason: str | None) -> None:
    assert held_reason(dataset) == reason


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        (file(), None),
        (file(BurnedInAnnotation="NO"), None),
        (file(BurnedInAnnotation="YES"), "burned-in"),
        (file(RecognizableVisualFeatures="YES"), "burned-in"),
        (file("7", Modality="CT", BurnedInAnnotation="NO"), "secondary-capture"),
        (file("7.2", Modality="OT"), "secondary-capture"),
        (file(ConversionType="WSD"), "secondary-capture"),
        (file("6.1", Modality="US"), "ultrasound"),
        (file("3.1", Modality="US"), "ultrasound"),
        (file(Modality="US"), "ultrasound"),
        (file("77.1.4", Modality="XC"), "photograph"),
        (file("77.1.1.1", Modality="ES"), "photograph"),
        (file("77.1.6", Modality="SM", ImageType=["DERIVED", "PRIMARY", "VOLUME", "NONE"]), None),
        (file("77.1.6", Modality="SM", ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"]), "photograph"),
        (file("77.1.6", Modality="SM", SpecimenLabelInImage="YES"), "photograph"),
        (file(ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]), "report-image"),
        (file(SeriesDescription="Dose Report"), "report-image"),
        (file(SeriesDescription="PATIENT_PROTOCOL"), "report-image"),
        (file(PhotometricInterpretation="RGB"), "colour"),
        (file("77.1.6", Modality="SM", PhotometricInterpretation="RGB"), None),
    ],
)
def test_what_may_be_seen_in_pixels(dataset: Dataset, reason: str | None) -> None:
    assert pixel_reason(dataset) == reason


def test_an_overlay_within_the_pixels() -> None:
    dataset = file()
    dataset.add_new(0x60000102, "US", 12)
    assert pixel_reason(dataset) == "overlay-bits"
    dataset.add_new(0x60003000, "OW", b"\0\0")  # has a place of its own, which is removed
    assert pixel_reason(dataset) is None
    dataset = file()
    dataset.add_new(0x60000102, "US", 0)
    assert pixel_reason(dataset) is None


def test_faces() -> None:
    assert face_risk(file(BodyPartExamined="HEAD"))
    assert face_risk(file("4", Modality="MR", ProtocolName="t1_brain"))
    assert not face_risk(file(BodyPartExamined="CHEST"))
    assert not face_risk(file("66.4", Modality="SEG", BodyPartExamined="HEAD"))


def test_every_reason_has_its_words() -> None:
    assert all(text and "\n" not in text for text in REASONS.values())
