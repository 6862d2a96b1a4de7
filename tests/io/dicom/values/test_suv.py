"""SUVbw of a reference object with known uptake, to 0.1 %; and refusals of what cannot be known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from tests.io.dicom.pet_reference import SHAPE, PetReference

from isocenter.io.dicom import find_series
from isocenter.io.dicom.frames import frames_of
from isocenter.io.dicom.header import Header
from isocenter.io.dicom.values import read_slices, value_unit
from isocenter.io.dicom.values.suv import SuvScale, suv_factors, suv_scale
from isocenter.records import SeriesError

Make = Callable[..., Any]
Edit = Callable[[int, Dataset], Any]
PHILIPS = "Philips PET Private Group"
LATE = datetime(2020, 3, 1, 18, 0, 0)


def _headers(make_series: Make, scan: PetReference, *, alone: bool = False) -> tuple[Header, ...]:
    truth = make_series(scan.edit, count=1 if alone else SHAPE[0], shape=SHAPE[1:])
    (series,) = find_series(truth.folder)
    return tuple(series.stack().headers)


def _assert_known(headers: tuple[Header, ...], scan: PetReference) -> SuvScale:
    scale = suv_scale(headers)
    found = read_slices(headers) * scale.factors[:, None, None]
    # a thousandth, or half of a stored step where a voxel is dim
    step = np.array([h.number("RescaleSlope") for h in headers]) * scale.factors
    assert (np.abs(found - scan.truth) <= np.maximum(1e-3 * scan.truth, 0.51 * step[:, None, None])).all()
    for value in np.unique(scan.truth):
        assert found[scan.truth == value].mean() == pytest.approx(value, rel=1e-3)
    return scale


@pytest.mark.parametrize("correction", ["START", "ADMIN", "NONE"])
def test_activity(make_series: Make, correction: str) -> None:
    scan = PetReference(correction=correction)
    headers = _headers(make_series, scan)
    scale = _assert_known(headers, scan)
    assert value_unit(headers[0]) == "Bq/ml"
    assert bool(scale.notes) == (correction == "NONE")


@pytest.mark.parametrize("correction", ["START", "NONE"])
@pytest.mark.parametrize("half_life_s", [75.0, 122.2, 4.07e3])
def test_tracers_that_decay_fast(make_series: Make, correction: str, half_life_s: float) -> None:
    """Rubidium-82, oxygen-15, gallium-68: a second counts."""
    day = datetime(2020, 3, 1, 11, 0)
    scan = PetReference(correction=correction, half_life_s=half_life_s, given=day, start=day + timedelta(seconds=90))
    _assert_known(_headers(make_series, replace(scan, frame_s=60, slices_of_bed=6)), replace(scan, frame_s=60))


@pytest.mark.parametrize("correction", ["START", "NONE"])
def test_scan_after_midnight(make_series: Make, correction: str) -> None:
    scan = PetReference(
        correction=correction, given=datetime(2020, 2, 29, 23, 40, 15), start=datetime(2020, 3, 1, 0, 35, 1)
    )
    _assert_known(_headers(make_series, scan), scan)


def test_scan_across_midnight(make_series: Make) -> None:
    """Frames that are not corrected lie on both sides of midnight."""
    scan = PetReference(
        correction="NONE", given=datetime(2020, 2, 29, 22, 50), start=datetime(2020, 2, 29, 23, 55), slices_of_bed=3
    )
    headers = _headers(make_series, scan)
    assert len({h.text("AcquisitionDate") for h in headers}) == 2
    _assert_known(headers, scan)


def _agent(**elements: str | None) -> Edit:
    def change(z: int, ds: Dataset) -> None:
        (item,) = ds.RadiopharmaceuticalInformationSequence
        for keyword, value in elements.items():
            if value is None:
                delattr(item, keyword)
            else:
                setattr(item, keyword, value)

    return change


def test_start_with_its_date(make_series: Make) -> None:
    """Zirconium-89 is imaged days after it was given."""
    scan = PetReference(half_life_s=282276, given=datetime(2020, 2, 27, 16, 0), start=datetime(2020, 3, 1, 9, 30))
    scan.change = _agent(RadiopharmaceuticalStartDateTime="20200227160000.00", RadiopharmaceuticalStartTime=None)
    _assert_known(_headers(make_series, scan), scan)


def test_start_on_the_clock_of_another_zone(make_series: Make) -> None:
    def change(z: int, ds: Dataset) -> None:
        ds.TimezoneOffsetFromUTC = "+0530"
        _agent(RadiopharmaceuticalStartDateTime="20200301043230+0000", RadiopharmaceuticalStartTime=None)(z, ds)

    scan = PetReference(change=change)
    _assert_known(_headers(make_series, scan), scan)


def _processed_later(z: int, ds: Dataset) -> None:
    ds.SeriesDate, ds.SeriesTime = f"{LATE:%Y%m%d}", f"{LATE:%H%M%S}"


def test_series_processed_later(make_series: Make) -> None:
    scan = PetReference(change=_processed_later)
    scale = _assert_known(_headers(make_series, scan), scan)
    assert "FrameReferenceTime" in scale.notes[0]


def test_series_processed_later_by_ge(make_series: Make) -> None:
    def change(z: int, ds: Dataset) -> None:
        _processed_later(z, ds)
        ds.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20200301110410.00")
        ds.FrameReferenceTime = "0"

    scan = PetReference(change=change)
    scale = _assert_known(_headers(make_series, scan), scan)
    assert "GE" in scale.notes[0]


def test_series_processed_later_without_reference_times(make_series: Make) -> None:
    def change(z: int, ds: Dataset) -> None:
        _processed_later(z, ds)
        del ds.FrameReferenceTime

    scan = PetReference(change=change)
    scale = _assert_known(_headers(make_series, scan), scan)
    assert "earliest" in scale.notes[0]


@pytest.mark.parametrize(("low", "scaled"), [(0x00, "suv"), (0x09, "bqml")])
@pytest.mark.parametrize("correction", ["START", "ADMIN"])
def test_counts_of_philips(make_series: Make, low: int, scaled: str, correction: str) -> None:
    scan = PetReference(units="CNTS", correction=correction)
    corrected = scan.activity(0 if correction == "ADMIN" else (scan.start - scan.given).total_seconds())
    factor = 1 / scan.counts_per_bqml / (corrected if scaled == "suv" else 1)

    def change(z: int, ds: Dataset) -> None:
        block = ds.private_block(0x7053, PHILIPS, create=True)
        block.add_new(low, "DS", f"{factor:.9g}")
        if low == 0x09:
            block.add_new(0x00, "DS", "0")  # what the scanner writes where it knows no weight

    scan.change = change
    headers = _headers(make_series, scan)
    scale = _assert_known(headers, scan)
    assert "Philips" in scale.notes[0]
    assert value_unit(headers[0]) == "a.u."


def test_values_that_are_suv(make_series: Make) -> None:
    scan = PetReference(units="GML")
    headers = _headers(make_series, scan)
    assert _assert_known(headers, scan).notes
    assert value_unit(headers[0]) == "SUVbw"


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(weight=st.floats(2, 250), dose=st.floats(1e6, 2e9), wait_s=st.integers(1, 80000), frame_s=st.integers(1, 3600))
def test_any_patient(make_series: Make, weight: float, dose: float, wait_s: int, frame_s: int) -> None:
    scan = PetReference(weight_kg=round(weight, 2), dose_bq=round(dose, -3), frame_s=frame_s)
    scan.half_life_s, scan.correction = 70000.0, "NONE"
    scan.start = scan.given + timedelta(seconds=wait_s)
    _assert_known(_headers(make_series, scan), scan)


def _edit(**elements: Any) -> Edit:
    def change(z: int, ds: Dataset) -> None:
        for keyword, value in elements.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_edit(PatientWeight=None), r"PatientWeight \(0010,1030\) is absent"),
        (_edit(PatientWeight="0"), r"PatientWeight \(0010,1030\) is 0"),
        (_edit(DecayCorrection=None), r"DecayCorrection \(0054,1102\) is absent"),
        (_edit(CorrectedImage=None), r"CorrectedImage \(0028,0051\) is absent"),
        (_edit(CorrectedImage=["DECY"]), r"attenuation was not corrected"),
        (_edit(CorrectedImage=["ATTN"]), r"do not agree"),
        (_edit(AcquisitionTime=None), r"AcquisitionTime \(0008,0032\)"),
        (_edit(Units="PROPCPS"), r"Units \(0054,1001\) is PROPCPS"),
        (_edit(Units="CNTS"), r"7053,xx00"),
        (_edit(Units="GML", SUVType="LBM"), r"SUVType \(0054,1006\) is LBM"),
        (_edit(RadiopharmaceuticalInformationSequence=None), r"\(0054,0016\) has 0 items"),
        (_agent(RadionuclideTotalDose=None), r"RadionuclideTotalDose \(0018,1074\) is absent"),
        (_agent(RadionuclideTotalDose="351.3"), r"RadionuclideTotalDose \(0018,1074\) is 351.3, which cannot be Bq"),
        (_agent(RadionuclideHalfLife=None), r"RadionuclideHalfLife \(0018,1075\) is absent"),
        (_agent(RadiopharmaceuticalStartTime=None), r"RadiopharmaceuticalStartTime \(0018,1072\) is absent"),
        (_agent(RadiopharmaceuticalStartTime="110411"), r"half-lives before the scan"),  # a second after it began
        (_agent(RadiopharmaceuticalStartDateTime="20190501100230"), r"half-lives before the scan"),
        (_agent(RadiopharmaceuticalStartDateTime="20200301090230"), r"3600 s apart"),
    ],
)
def test_refusals_name_the_element(make_series: Make, change: Edit, named: str) -> None:
    headers = _headers(make_series, PetReference(change=change), alone=True)
    with pytest.raises(SeriesError, match=named) as caught:
        suv_factors(headers)
    assert headers[0].file in str(caught.value)
    assert "2020" not in str(caught.value)  # no dates of the patient
    assert "72.5" not in str(caught.value)


def test_slices_of_two_patients(make_series: Make) -> None:
    scan = PetReference(change=lambda z, ds: setattr(ds, "PatientWeight", "50" if z else "60"))
    with pytest.raises(SeriesError, match=r"PatientWeight \(0010,1030\) has 2 values"):
        suv_factors(_headers(make_series, scan))


def _enhanced(scan: PetReference, *, corrected: bool) -> list[Header]:
    """As the parser gives the head of an enhanced PET file (PS3.3 A.57), one bed position a frame."""

    def stamp(moment: datetime) -> str:
        return f"{moment:%Y%m%d%H%M%S.%f}"

    unit = {"CodeValue": "Bq/ml", "CodingSchemeDesignator": "UCUM", "CodeMeaning": "Bq/ml"}
    frames = []
    for z in range(0, SHAPE[0], scan.slices_of_bed):
        begin = scan.given + timedelta(seconds=scan.bed(z)[0])
        content = {"FrameAcquisitionDateTime": stamp(begin), "FrameAcquisitionDuration": scan.frame_s * 1000}
        mapping = {"RealWorldValueSlope": 2.0, "RealWorldValueIntercept": 0.0, "MeasurementUnitsCodeSequence": (unit,)}
        mapping |= {"RealWorldValueFirstValueMapped": 0, "RealWorldValueLastValueMapped": 32767, "LUTLabel": "activity"}
        transform = {"RescaleSlope": 2.0, "RescaleIntercept": 0.0}
        frames.append(
            {
                "FrameContentSequence": (content,),
                "PixelValueTransformationSequence": (transform,),
                "RealWorldValueMappingSequence": (mapping,),
                "RadiopharmaceuticalUsageSequence": ({"RadiopharmaceuticalAgentNumber": 2},),
            }
        )
    agents = [
        {
            "RadiopharmaceuticalAgentNumber": number,
            "RadionuclideTotalDose": dose / 1e6,  # megabecquerels
            "RadionuclideHalfLife": scan.half_life_s,
            "RadiopharmaceuticalStartDateTime": stamp(scan.given),
        }
        for number, dose in ((1, 1e9), (2, scan.dose_bq))
    ]
    tags = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.130",
        **{"NumberOfFrames": len(frames), "Rows": SHAPE[1], "Columns": SHAPE[2]},
        "PatientWeight": scan.weight_kg,
        "AttenuationCorrected": "YES",
        "DecayCorrected": "YES" if corrected else "NO",
        "DecayCorrectionDateTime": stamp(scan.start),
        "RadiopharmaceuticalInformationSequence": tuple(agents),
        "PerFrameFunctionalGroupsSequence": tuple(frames),
    }
    return list(frames_of(Header("enhanced.dcm", 0, tags)))


@pytest.mark.parametrize("corrected", [True, False])
def test_enhanced_pet(corrected: bool) -> None:
    scan = PetReference(correction="START" if corrected else "NONE")
    headers = _enhanced(scan, corrected=corrected)
    beds = range(0, SHAPE[0], scan.slices_of_bed)
    expected = [scan.truth[z].max() / scan.image(z).max() for z in beds]
    assert suv_factors(headers) == pytest.approx(expected, rel=1e-5)


def test_enhanced_pet_in_becquerels() -> None:
    headers = _enhanced(PetReference(dose_bq=3e14), corrected=True)
    with pytest.raises(SeriesError, match="cannot be MBq"):
        suv_factors(headers)


@pytest.mark.real
def test_sarcoma_pet_is_suv_already(real_data: Callable[[str], Path]) -> None:
    folder = real_data("sarcoma_pet_ct_mr") / "dicom" / "STS_008" / "PET" / "image"
    (series,) = find_series(folder)
    headers = series.stack().headers
    assert value_unit(headers[0]) == "SUVbw"
    assert (suv_factors(headers) == 1).all()
