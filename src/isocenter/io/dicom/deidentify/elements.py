"""Elements looked at without changing their bytes: pydicom converts values when they are first read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isocenter.io.dicom.deidentify.dates import is_temporal
from isocenter.io.dicom.deidentify.private import is_numeric_text
from isocenter.io.dicom.deidentify.uids import is_uid

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

__all__ = ["ASCII", "TEXTS", "empty", "plausible", "read", "texts", "vr_of"]

TEXTS = {"LO", "SH", "ST", "LT", "UT", "UC", "UR", "PN", "AE"}
ASCII = {"AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"}


def vr_of(dataset: Dataset, tag: int) -> str:
    """VR of an element as it says or, where it says none, as the data dictionary does; ``"UN"`` where nobody knows."""
    from pydicom.datadict import dictionary_VR
    from pydicom.valuerep import STANDARD_VR

    said = getattr(dataset.get_item(tag, keep_deferred=True), "VR", None)
    if said in STANDARD_VR and said != "UN":
        return str(said)
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


def read(dataset: Dataset, tag: int) -> DataElement | None:
    """An element with its value; ``None`` where it cannot be read."""
    try:
        element: DataElement = dataset[tag]
        _ = element.value
    except Exception:  # whatever pydicom makes of damaged bytes: what cannot be read is not kept
        return None
    return element


def texts(dataset: Dataset, tag: int) -> list[str] | None:
    """Values of an element as strings, the element itself left as it is; ``None`` where it cannot be read."""
    raw = dataset.get_item(tag, keep_deferred=True)
    if isinstance(getattr(raw, "value", None), bytes) and vr_of(dataset, tag) in ASCII:
        parts = raw.value.decode("latin-1").split("\\")
        return [part.strip(" \0") for part in parts]
    element = read(dataset, tag)
    if raw is not None:
        dataset[tag] = raw  # its bytes, not what pydicom would write in their place
    if element is None:
        return None
    return [str(v).strip(" \0") for v in _several(element)]


def _several(element: DataElement) -> list[Any]:
    value = element.value
    if value is None:
        return []
    if element.VM > 1 and not isinstance(value, (str, bytes)):
        return list(value)
    return [value]


def plausible(vr: str, values: list[str], *, temporal: bool = False) -> bool:
    """Whether values are of the kind that their VR says, so that no text hides in them.

    Args:
        vr: Of the element.
        values: Its values.
        temporal: The attribute is one of time, so that a text is none but an offset from UTC.

    Example:
        >>> plausible("DS", ["1.5"]), plausible("DS", ["John"]), plausible("UI", ["1.2.3"])
        (True, False, True)
    """
    said = [v for v in values if v]
    if vr in ("DA", "TM", "DT") or (temporal and vr != "OB"):
        return all(is_temporal(v, vr) for v in said)
    if vr in ("DS", "IS"):
        return all(is_numeric_text(v) for v in said)
    if vr == "UI":
        return all(is_uid(v) for v in said)
    if vr == "AS":
        return all(len(v) == 4 and v[:3].isdigit() and v[3] in "DWMY" for v in said)
    return True


def empty(dataset: Dataset, tag: int, vr: str) -> None:
    """Leave an element without a value."""
    from pydicom.sequence import Sequence

    dataset.add_new(tag, vr, Sequence() if vr == "SQ" else None)
