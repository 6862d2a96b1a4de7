"""What the numbers in findings are called: DICOM concepts, UCUM units, and words for a person."""

from __future__ import annotations

from dataclasses import dataclass

from isocenter.records import Code

__all__ = ["INTENDED_USE", "MEASURES", "UNITS", "Measure", "words"]

INTENDED_USE = "For research use. AI generated, unverified. Not a medical device."


@dataclass(frozen=True)
class Measure:
    """A kind of measurement.

    Attributes:
        title: Words for a table head.
        concept: Its code, from DICOM PS3.16, where there is one.
        derivation: How it was derived (mean, maximum), coded, where that is part of what it is.
    """

    title: str
    concept: Code | None = None
    derivation: Code | None = None


_VOLUME = Code("118565006", "SCT", "Volume")
_ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
_SUV = Code("126401", "DCM", "SUVbw")
_CENTER = Code("111010", "DCM", "Center")
_MEAN = Code("373098007", "SCT", "Mean")
_MAXIMUM = Code("56851009", "SCT", "Maximum")

MEASURES: dict[str, Measure] = {
    "volume": Measure("Volume", _VOLUME),
    "components": Measure("Parts"),
    "largest_component_volume": Measure("Largest part", _VOLUME, _MAXIMUM),
    "mean_attenuation": Measure("Mean density", _ATTENUATION, _MEAN),
    "suv_mean": Measure("SUV mean", _SUV, _MEAN),
    "suv_max": Measure("SUV max", _SUV, _MAXIMUM),
    "long_axis": Measure("Long axis", Code("103339001", "SCT", "Long axis")),
    "short_axis": Measure("Short axis", Code("103340004", "SCT", "Short axis")),
    "center_x": Measure("Center x", _CENTER),
    "center_y": Measure("Center y", _CENTER),
    "center_z": Measure("Center z", _CENTER),
    "size_x": Measure("Size left-right"),
    "size_y": Measure("Size front-back"),
    "size_z": Measure("Size head-foot"),
}
"""By the name that `Measurement.name` carries. Positions and sizes are along the patient's LPS axes."""

UNITS: dict[str, tuple[str, str]] = {
    "mL": ("milliliter", "mL"),
    "mm": ("millimeter", "mm"),
    "[hnsf'U]": ("Hounsfield unit", "HU"),
    "g/ml{SUVbw}": ("Standardized Uptake Value body weight", "SUV"),
    "1": ("no units", ""),
}
"""By UCUM code: its meaning, and how a table writes it."""


def words(name: str) -> str:
    """A short name as a person reads it.

    Example:
        >>> words("lung_left")
        'Lung left'
    """
    text = name.replace("_", " ").strip()
    return text[:1].upper() + text[1:]
