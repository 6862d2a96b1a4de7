"""What stands in place of a value that must not be empty: the D of Table E.1-1a."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement

__all__ = ["TEXT", "dummy"]

TEXT = "ANONYMIZED"
"""Valid in every text, as a code string, as a name and as an application entity title."""

_DUMMIES: dict[str, Any] = {
    "AS": "000Y",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "UR": "urn:x-anonymized",
    "AT": 0,
    **dict.fromkeys(("DS", "IS"), "0"),
    **dict.fromkeys(("FL", "FD", "SL", "SS", "SV", "UL", "US", "UV"), 0),
}
_WIDTHS = {"OB": 2, "OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8, "UN": 2}
_NUMBERS = {"AT", "DS", "IS", "FL", "FD", "SL", "SS", "SV", "UL", "US", "UV"}


def dummy(vr: str, old: DataElement | None = None) -> Any:
    r"""A value that is valid for the VR and says nothing; as many numbers as there were.

    UIDs and sequences have no dummy of their own; they are derived from what they replace.

    Example:
        >>> dummy("PN"), dummy("DA"), dummy("OB")
        ('ANONYMIZED', '19000101', b'\x00\x00')
    """
    if vr in _WIDTHS:
        return bytes(_WIDTHS[vr])
    value = _DUMMIES.get(vr, TEXT)
    if vr in _NUMBERS and old is not None and old.VM > 1:
        return [value] * old.VM
    return value
