"""Attributes that Table E.1-1 does not name.

The table is the least that is required, and note 4 of E.1.1 asks to think of what it cannot know: dates, names and UIDs
are handled by their VR here; attributes that the data dictionary does not have are removed, since nobody can say what
they hold; all others are left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isocenter.io.dicom.deidentify.descriptors import STANDARD_SCHEMES
from isocenter.io.dicom.deidentify.uids import is_structural

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from isocenter.io.dicom.deidentify.options import DeidentifyOptions

__all__ = ["CODES", "FOREIGN_GROUPS", "code_for", "is_public_code"]

FOREIGN_GROUPS = {0x0000, 0x0002, 0x0004}
"""Commands, file meta information, directories: no part of a data set."""

_OWN = {
    # free text of content items, wherever they stand outside of structured reports
    "TextValue": "D",
    # what an earlier de-identifier encrypted: who holds its key is not known here
    "EncryptedAttributesSequence": "X",
    # replaced by what is done here
    "DeidentificationMethod": "X",
    "PatientIdentityRemoved": "X",
    "LongitudinalTemporalInformationModified": "X",
}
CODES = {"CodeValue", "CodingSchemeDesignator", "CodeMeaning", "CodingSchemeVersion"}
"""Texts of codes: "usually safe" (note 8 of E.1.1), and so many that a count of them tells nothing."""

_ADDRESSES_KEPT = {"CodingSchemeURL", "URNCodeValue"}


def code_for(tag: int, dataset: Dataset, options: DeidentifyOptions) -> tuple[str, str]:
    """A code, or ``leave``, for an attribute that is not in the table, and the column of the option that it is from."""
    from pydicom.datadict import dictionary_VR, keyword_for_tag

    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "X", "basic"
    keyword = keyword_for_tag(tag)
    if tag & 0xFFFF == 0 or tag >> 16 & 0xFF00 == 0x6000:  # group length; what is left of an overlay without its data
        return "X", "basic"
    if keyword in _OWN:
        return _OWN[keyword], "basic"
    said = getattr(dataset.get_item(tag, keep_deferred=True), "VR", None)
    if said not in (None, "UN", *vr.split(" or ")) and said in ("PN", "DA", "DT", "TM", "UI", "UR", "AE"):
        return "X", "basic"  # a kind of value that the attribute cannot have
    if vr in ("DA", "DT", "TM"):
        if options.shift_dates is not None:
            return "C", "modified"
        return ("K", "dates") if options.keep_dates else ("X", "basic")
    return _by_vr(vr, keyword, options), "basic"


def _by_vr(vr: str, keyword: str, options: DeidentifyOptions) -> str:
    if vr == "PN":
        return "Z"
    if vr == "UI":
        return "leave" if options.keep_uids or is_structural(keyword) else "U"
    if vr == "UR" and keyword not in _ADDRESSES_KEPT:
        return "X"
    return "leave"


def is_public_code(item: Dataset) -> bool:
    """Whether an item is no code, or one of a public scheme: what a hospital's own code means is not known."""
    coded = any(keyword in item for keyword in ("CodeValue", "LongCodeValue", "URNCodeValue"))
    return not coded or str(item.get("CodingSchemeDesignator", "")).strip() in STANDARD_SCHEMES
