"""The C of Table E.1-1a: values of similar meaning that identify nobody, by the option that asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isocenter.io.dicom.deidentify.dates import is_temporal, shifted
from isocenter.io.dicom.deidentify.descriptors import cleaned

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement

    from isocenter.io.dicom.deidentify.keys import Secret
    from isocenter.io.dicom.deidentify.residue import Identifiers

__all__ = ["cleaned_value"]

_TEMPORAL = {"DA", "DT", "TM", "SH"}
_TEXTS = {"LO", "SH", "ST", "LT", "UT", "UC"}


def cleaned_value(element: DataElement, column: str, days: int, secret: Secret, who: Identifiers) -> Any:
    """The clean value of an element that is no sequence; ``None`` where nothing of it can be kept.

    Args:
        element: Its value may be several.
        column: The option: ``modified`` shifts dates, ``device`` renames application entities, every other one keeps
            known words.
        days: Shift of dates.
        secret: What new names of application entities are derived from.
        who: Names that are not kept though they are words.
    """
    if element.is_empty:
        return None
    several = element.VM > 1 and not isinstance(element.value, (str, bytes))
    old = [str(v) for v in (element.value if several else [element.value])]
    if column == "modified":
        new = [_moved(v, element.VR, days) for v in old]
    elif element.VR == "AE":
        new = [secret.station(v.strip()) for v in old]
    elif element.VR in _TEXTS:
        new = [words for v in old if (words := cleaned(v, who.names)) and not who.in_text(words)]
    else:
        return None
    if not new or None in new:
        return None
    return new[0] if len(new) == 1 else new


def _moved(value: str, vr: str, days: int) -> str | None:
    if vr not in _TEMPORAL:
        return None  # a time stamp in binary form
    if vr == "SH":  # offset from UTC: shifting by days leaves it
        return value if is_temporal(value, "SH") else None
    return shifted(value, vr, days)
