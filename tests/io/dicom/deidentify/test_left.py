"""What the table does not name, and what is cleaned rather than kept or removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from isocenter.errors import FileFormatError
from isocenter.io.dicom.deidentify.actions import MAX_DEPTH
from isocenter.io.dicom.deidentify.descriptors import cleaned as words

Function = Callable[..., Any]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CT chest abdomen pelvis - 55F Dr. Smith", "CT chest abdomen pelvis"),
        ("SMITH^JOHN", ""),
        ("t1_mprage_sag_p2_iso_1.0mm", "t1 mprage sag 1.0mm"),
        ("MRI Hand, Dr. Hand", "MRI Hand"),
        ("MRI Hand Prof Hand Foot knee", "MRI Hand knee"),
        ("Lung 1.5mm B70f MRN 00471123", "Lung 1.5mm"),
        ("DWI b1000 3T", "DWI b1000 3T"),
        ("born 12.03.1961, follow-up", "follow-up"),
        ("Abdomen/Pelvis w/o contrast", "Abdomen/Pelvis w/o contrast"),
        ("Ann Brown's brain", "brain"),
        ("", ""),
        ("0171 5550123", ""),
    ],
)
def test_words_of_descriptions(text: str, expected: str) -> None:
    assert words(text, names={"brown", "smith"}) == expected


def test_a_name_that_is_a_word_is_not_kept() -> None:
    assert words("foot and hand", names={"hand"}) == "foot and"


def test_descriptions_are_cleaned_of_the_names_of_the_file(cleaned: Function, reread: Function) -> None:
    dataset = Dataset()
    dataset.StudyDescription = "Hand AP 55F"
    dataset.SeriesDescription = "Foot, knee"
    dataset.ImageComments = "Knee"
    dataset.PatientName = "Foot^Mary"
    after = reread(dataset)
    counts = cleaned(after, clean_descriptors=True).tally
    assert after.StudyDescription == "Hand AP"
    assert after.SeriesDescription == "knee"
    assert after.ImageComments == "Knee"
    assert counts.kept == {("descriptors", k): 1 for k in ("StudyDescription", "SeriesDescription", "ImageComments")}


def test_codes_of_hospitals_are_not_kept(cleaned: Function, reread: Function) -> None:
    def code(value: str, scheme: str, meaning: str) -> Dataset:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
        return item

    dataset = Dataset()
    dataset.AdmittingDiagnosesCodeSequence = Sequence(
        [code("1", "99HOSP", "Brown"), code("39607008", "SCT", "Lung"), code("2", "SCT", "Brown's disease")]
    )
    dataset.ReasonForVisitCodeSequence = Sequence([code("1", "99HOSP", "Lung")])
    after = reread(dataset)
    cleaned(after, clean_descriptors=True)
    found = [(i.CodeValue, i.CodeMeaning) for i in after.AdmittingDiagnosesCodeSequence]
    assert found == [("39607008", "Lung"), ("2", "ANONYMIZED")]
    assert "ReasonForVisitCodeSequence" not in after


def test_what_the_table_does_not_name(cleaned: Function, reread: Function) -> None:
    dataset = Dataset()
    dataset.Manufacturer = "Maker"
    dataset.ConvolutionKernel = "B30f"
    dataset.add_new(0x0040A067, "PN", "Brown^Ann")  # Document Author (Trial)
    dataset.add_new(0x40101041, "DT", "20240229101112")  # OOI Owner Creation Time
    dataset.RetrieveURL = "https://brown.example"
    dataset.CodingSchemeUID = "1.2.276.0.4711.2"
    dataset.RadiopharmaceuticalAdministrationEventUID = "1.2.276.0.4711.3"
    dataset.TextValue = "Brown"
    dataset.KVP = "120"
    after = reread(dataset)
    counts = cleaned(after).tally
    assert after.Manufacturer == "Maker"
    assert after.KVP == 120
    assert after[0x0040A067].is_empty
    assert 0x40101041 not in after
    assert "RetrieveURL" not in after
    assert after.CodingSchemeUID == "1.2.276.0.4711.2"
    assert after.RadiopharmaceuticalAdministrationEventUID.startswith("2.25.")
    assert after.TextValue == "ANONYMIZED"
    assert counts.left == {"Manufacturer": 1, "ConvolutionKernel": 1}
    shifted = reread(dataset)
    cleaned(shifted, shift_dates=1, days=1)
    assert shifted[0x40101041].value == "20240301101112"


def test_the_net_finds_names_and_numbers_elsewhere(cleaned: Function, reread: Function) -> None:
    dataset = Dataset()
    dataset.PatientName = "Brown^Ann=布朗"
    dataset.PatientID = "MRN0047110815"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SoftwareVersions = "for mrn0047110815"
    dataset.Manufacturer = "Anna's Imaging"
    dataset.ManufacturerModelName = "Ann, 3"
    dataset.ContrastBolusRoute = "布朗"
    dataset.FilterType = "BROWN'S"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.BodyPartExamined = "BROWN"
    dataset.ICCProfile = b"made for Brown\0\0"
    dataset.RedPaletteColorLookupTableData = b"\0\1\0\2"
    after = reread(dataset)
    cleaned(after)
    assert [after[k].value for k in ("SoftwareVersions", "ManufacturerModelName", "ContrastBolusRoute")] == [
        "ANONYMIZED"
    ] * 3
    assert after.FilterType == after.BodyPartExamined == "ANONYMIZED"
    assert after.Manufacturer == "Anna's Imaging"
    assert "ICCProfile" not in after
    assert after.RedPaletteColorLookupTableData == b"\0\1\0\2"
    assert after.ImageType == ["ORIGINAL", "PRIMARY", "AXIAL"]


def test_a_number_that_is_the_patients(cleaned: Function, reread: Function) -> None:
    dataset = Dataset()
    dataset.PatientID, dataset.SeriesNumber, dataset.InstanceNumber, dataset.KVP = "1234567", "1234567", "7", "120"
    after = reread(dataset)
    cleaned(after)
    assert after.SeriesNumber is None
    assert (after.InstanceNumber, after.KVP) == (7, 120)


def test_words_of_the_field_are_no_names_in_codes(cleaned: Function, reread: Function) -> None:
    dataset = Dataset()
    dataset.PatientName = "Chest^Axial"
    dataset.BodyPartExamined = "CHEST"
    dataset.FilterType = "Chest"
    after = reread(dataset)
    cleaned(after)
    assert after.BodyPartExamined == "CHEST"
    assert after.FilterType == "ANONYMIZED"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("KVP", b"Brown "), ("Exposure", b"Brown "), ("SOPClassUID", b"Brown "), ("PatientAge", b"Brow")],
)
def test_a_text_in_the_place_of_a_number_is_not_kept(
    cleaned: Function, reread: Function, keyword: str, value: bytes
) -> None:
    from pydicom.datadict import dictionary_VR
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    dataset = Dataset()
    tag = Tag(keyword)
    dataset[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
    cleaned(dataset, keep_characteristics=True)
    assert dataset[tag].is_empty


def test_dates_that_are_none_are_not_kept(cleaned: Function, reread: Function) -> None:
    dataset = Dataset()
    dataset.StudyDate, dataset.SeriesTime, dataset.TimezoneOffsetFromUTC = "20240229", "Brown", "Brown"
    for chosen in ({"keep_dates": True}, {"shift_dates": 5}):
        after = reread(dataset)
        cleaned(after, **chosen)
        assert "Brown" not in str(after)
        assert after.StudyDate != ""


def test_safe_private_attributes(cleaned: Function, reread: Function) -> None:
    dataset = Dataset()
    pet = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
    pet.add_new(0x00, "DS", "0.00027")
    pet.add_new(0x03, "LO", "Brown")
    siemens = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    siemens.add_new(0x0C, "IS", "1000")
    siemens.add_new(0x0D, "CS", "DIRECTIONAL")
    siemens.add_new(0x0E, "FD", [0.0, 0.6, 0.8])
    siemens.add_new(0x0F, "SH", "Brown")
    philips = dataset.private_block(0x2001, "Philips Imaging DD 001", create=True)
    philips.add_new(0x03, "FL", 1000.0)
    philips.add_new(0x04, "CS", "Brown, Ann")  # listed as a code string, and is none
    philips.add_new(0x5F, "SQ", Sequence([Dataset()]))
    unknown = dataset.private_block(0x0019, "SOMEBODY", create=True)
    unknown.add_new(0x0C, "IS", "1000")
    for syntax in ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"):
        after = reread(dataset, syntax)
        counts = cleaned(after, keep_safe_private=True).tally
        kept = {(f"{t.group:04x}", t.element) for t in list(after.keys())}
        assert kept == {
            *(("7053", 0x10), ("7053", 0x1000), ("0019", 0x10), ("0019", 0x100C), ("0019", 0x100D), ("0019", 0x100E)),
            *(("2001", 0x10), ("2001", 0x1003)),
        }, syntax
        assert sum(counts.kept.values()) == 5
        assert counts.kept["private", "(7053,xx00)"] == 1


def test_names_of_stations_stay_apart(cleaned: Function, reread: Function) -> None:
    dataset = Dataset()
    dataset.StationAETitle, dataset.RetrieveAETitle = "CT_BROWN", "PACS"
    after = reread(dataset)
    cleaned(after, keep_device=True)
    assert after.StationAETitle != after.RetrieveAETitle
    assert {after.StationAETitle, after.RetrieveAETitle} & {"CT_BROWN", "PACS"} == set()


def test_sequences_nested_without_end(cleaned: Function) -> None:
    dataset = inner = Dataset()
    for _ in range(MAX_DEPTH + 2):
        inner.ReferencedSeriesSequence = Sequence([Dataset()])
        inner = inner.ReferencedSeriesSequence[0]
    with pytest.raises(FileFormatError, match="nested more than"):
        cleaned(dataset)


def test_everything_is_found_at_any_depth(cleaned: Function, reread: Function) -> None:
    dataset = inner = Dataset()
    for _ in range(10):
        inner.PatientName = "Brown^Ann"
        inner.SoftwareVersions = "Brown"
        inner.private_block(0x0029, "SOMEBODY", create=True).add_new(1, "LO", "Brown")
        inner.ReferencedSeriesSequence = Sequence([Dataset()])
        inner = inner.ReferencedSeriesSequence[0]
    inner.OperatorsName = "Brown^Ann"
    after = reread(dataset)
    cleaned(after)
    assert "Brown" not in str(after)
