"""Findings as a document that another program can read: ``findings.json``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from isocenter.records import ClassLabel
from isocenter.report.codes import INTENDED_USE, MEASURES, UNITS, Measure
from isocenter.report.findings import flags_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isocenter.records import Code, Finding, Measurement, Prediction, Provenance

__all__ = ["SCHEMA_VERSION", "findings_json"]

SCHEMA_VERSION = 1


def findings_json(prediction: Prediction, findings: Sequence[Finding]) -> dict[str, Any]:
    """The content of ``findings.json``: plain types only, the same for the same input.

    Args:
        prediction: Gives the case's id (nothing else of the case is written), model, flags and class probabilities.
        findings: As `findings_of` gives them, or a part of them.

    Returns:
        ``schema_version``, ``intended_use``, ``case`` (id), ``model``, ``findings`` (codes of SNOMED CT and DICOM,
        units of UCUM), ``classes`` (every probability of each classification) and ``flags``. A number that is not
        finite is ``None``.

    Example:
        >>> from isocenter.records import Case, Finding, Measurement, Prediction
        >>> volume = Finding("liver", measurements=(Measurement("volume", 1500.25, "mL"),))
        >>> document = findings_json(Prediction(Case("case-1", "p", {}), ()), [volume])
        >>> document["findings"][0]["measurements"][0]["unit"]
        {'value': 'mL', 'scheme': 'UCUM', 'meaning': 'milliliter'}
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "intended_use": INTENDED_USE,
        "case": {"id": prediction.case.id},
        "model": _model(prediction.provenance),
        "findings": [_finding(f) for f in findings],
        "classes": [_classes(a) for a in prediction.annotations if isinstance(a, ClassLabel)],
        "flags": [{"code": f.code, "level": f.level, "text": f.text} for f in flags_of(prediction, findings)],
    }


def _model(provenance: Provenance | None) -> dict[str, Any] | None:
    if provenance is None:
        return None
    return {
        "name": provenance.model,
        "version": provenance.version,
        "digest": provenance.digest,
        "settings": dict(provenance.settings),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "code": _code(finding.code),
        "site": _code(finding.site),
        "probability": None if finding.probability is None else _number(finding.probability),
        "measurements": [_measurement(m) for m in finding.measurements],
        "evidence": list(finding.evidence),
        "tracking_uid": finding.tracking_uid,
        "prior": finding.prior,
    }


def _measurement(measurement: Measurement) -> dict[str, Any]:
    kind = MEASURES.get(measurement.name, Measure(measurement.name))
    meaning, _ = UNITS.get(measurement.unit, (measurement.unit, ""))
    interval = measurement.interval
    return {
        "name": measurement.name,
        "code": _code(kind.concept),
        "derivation": _code(kind.derivation),
        "value": _number(measurement.value),
        "unit": {"value": measurement.unit, "scheme": "UCUM", "meaning": meaning},
        "interval": None if interval is None else [_number(v) for v in interval],
    }


def _classes(label: ClassLabel) -> dict[str, Any]:
    known = label.probabilities or (None,) * len(label.classes)
    return {
        "name": label.name,
        "exclusive": label.exclusive,
        "classes": [
            {"name": name, "holds": name in label.values, "probability": None if p is None else _number(p)}
            for name, p in zip(label.classes, known, strict=True)
        ],
    }


def _code(code: Code | None) -> dict[str, str] | None:
    return None if code is None else {"value": code.value, "scheme": code.scheme, "meaning": code.meaning}


def _number(value: float) -> float | None:
    # seven digits: more than any measurement holds, and free of the last bits that differ between machines
    return float(f"{value:.7g}") if math.isfinite(value) else None
