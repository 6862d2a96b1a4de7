"""Coded concepts of structures (SNOMED CT, PS3.16 CID 7150 and 7151)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isocenter.records import Code

if TYPE_CHECKING:
    from isocenter.records import Structure

__all__ = ["category_of", "type_of"]

ANATOMICAL = Code("91723000", "SCT", "Anatomical Structure")
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
TISSUE = Code("85756007", "SCT", "Tissue")

# types that stand under "Morphologically Abnormal Structure"
_ABNORMAL_TYPES = {
    "108369006",  # neoplasm
    "86049000",  # neoplasm, primary
    "14799000",  # neoplasm, secondary
    "4147007",  # mass
    "27925004",  # nodule
    "52988006",  # lesion
    "79654002",  # edema
    "6574001",  # necrosis
    "50960005",  # hemorrhage
    "55641003",  # infarct
    "367643001",  # cyst
}


def type_of(structure: Structure) -> Code:
    """Its code; "Tissue" where it states none, so that only the label says what it is."""
    return structure.code or TISSUE


def category_of(structure: Structure) -> Code:
    """The category its type stands under; "Tissue" for structures without a code."""
    if structure.code is None:
        return TISSUE
    if structure.code.scheme == "SCT" and structure.code.value in _ABNORMAL_TYPES:
        return ABNORMAL
    return ANATOMICAL
