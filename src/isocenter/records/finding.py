"""Coded findings: what a report, a DICOM SR or a table is written from."""

from __future__ import annotations

from dataclasses import dataclass

from isocenter.records.labels import Code

__all__ = ["Finding", "Measurement"]


@dataclass(frozen=True)
class Measurement:
    """A number with its unit and doubt.

    Attributes:
        name: e.g. ``"volume"``, ``"long_axis"``.
        value: In ``unit``.
        unit: UCUM: ``"mL"``, ``"mm"``, ``"[hnsf'U]"``.
        interval: Low and high end of the stated interval, where there is one.
    """

    name: str
    value: float
    unit: str
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Finding:
    """One statement about a case.

    Attributes:
        name: Short name of the structure or class.
        code: Coded type, where known.
        site: Anatomical site, where it is not the structure itself.
        measurements: Numbers that belong to it.
        probability: In 0..1, where the task gives one.
        evidence: What it rests on: image names, SOP instance UIDs, slice numbers.
        tracking_uid: Same over time for the same thing, where it is followed.
        prior: ``tracking_uid`` of the matched earlier finding.

    Example:
        >>> volume = Measurement("volume", 1480.0, "mL", interval=(1420.0, 1540.0))
        >>> Finding("liver", Code("10200004", "SCT", "Liver"), measurements=(volume,)).measurements[0].unit
        'mL'
    """

    name: str
    code: Code | None = None
    site: Code | None = None
    measurements: tuple[Measurement, ...] = ()
    probability: float | None = None
    evidence: tuple[str, ...] = ()
    tracking_uid: str | None = None
    prior: str | None = None
