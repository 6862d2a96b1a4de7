"""``findings.json``: codes that exist, plain types, nothing of the patient."""

from __future__ import annotations

import json

import pytest
from pydicom.sr.codedict import codes

from isocenter.records import Case, ClassLabel, Code, Finding, Flag, Measurement, Prediction, Provenance
from isocenter.report import findings_json
from isocenter.report.codes import MEASURES, UNITS

CASE = Case("case-1", "secret-pseudonym", {}, attributes={"site": "secret-site"})
FINDINGS = (
    Finding(
        "nodule",
        Code("27925004", "SCT", "Nodule"),
        measurements=(
            Measurement("volume", 0.3121234567, "mL", (0.268, 0.36)),
            Measurement("mean_attenuation", float("nan"), "[hnsf'U]"),
        ),
        probability=0.93,
        evidence=("ct", "slice 12"),
    ),
    Finding("effusion", measurements=(Measurement("volume", 0.0, "mL"),)),
)
PREDICTION = Prediction(
    CASE,
    (ClassLabel(name="grade", classes=("low", "high"), values=("high",), probabilities=(0.2, 0.8)),),
    flags=(Flag("noise-high", "Noisy.", "review"),),
    provenance=Provenance("lung", "0.1.0", "ab" * 32, {"overlap": "0.5"}),
)


def test_document_survives_json_and_states_what_it_must() -> None:
    document = json.loads(json.dumps(findings_json(PREDICTION, FINDINGS), allow_nan=False))
    assert document["schema_version"] == 1
    assert document["case"] == {"id": "case-1"}
    assert document["model"]["digest"] == "ab" * 32
    assert "not a medical device" in document["intended_use"].lower()
    volume, density = document["findings"][0]["measurements"]
    assert volume == {
        "name": "volume",
        "code": {"value": "118565006", "scheme": "SCT", "meaning": "Volume"},
        "derivation": None,
        "value": 0.3121235,
        "unit": {"value": "mL", "scheme": "UCUM", "meaning": "milliliter"},
        "interval": [0.268, 0.36],
    }
    assert density["value"] is None
    assert document["classes"][0]["classes"][1] == {"name": "high", "holds": True, "probability": 0.8}
    assert [flag["code"] for flag in document["flags"]] == ["noise-high", "structure-empty"]


def test_nothing_of_the_patient_but_the_case_id() -> None:
    assert "secret" not in json.dumps(findings_json(PREDICTION, FINDINGS))


def test_without_a_model_or_findings() -> None:
    document = findings_json(Prediction(CASE, ()), ())
    assert (document["model"], document["findings"], document["flags"]) == (None, [], [])


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_codes_are_those_of_the_dicom_dictionary(name: str) -> None:
    for code in (MEASURES[name].concept, MEASURES[name].derivation):
        if code is not None:
            known = {(entry.value, entry.meaning.lower()) for entry in _dictionary(code.scheme)}
            assert (code.value, code.meaning.lower()) in known


def test_units_are_ucum_units_that_dicom_names() -> None:
    known = {entry.value for entry in _dictionary("UCUM")}
    assert set(UNITS) - known == {"mL"}  # UCUM allows both spellings of the litre, DICOM's tables use "ml"


def _dictionary(scheme: str) -> list[Code]:
    collection = getattr(codes, scheme)
    entries = [getattr(collection, keyword) for keyword in collection.dir()]
    return [Code(entry.value, entry.scheme_designator, entry.meaning) for entry in entries]
