"""Private attributes that are known to be safe: Table E.3.10-1 of PS3.15, edition 2026c, without its texts.

The standard lists attributes "thought to be safe". Only those that hold numbers or code strings are kept here, and only
where the value is one: free text, UIDs, bulk data and sequences of vendors are removed even where they are listed.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["BINARY", "creator_of", "is_numeric_text", "kept_private", "safe_private"]

BINARY = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8}
_MAX_VALUES = 64
_DECIMAL = re.compile(r"[0-9+\-.eE \\\0]*")
_CODE = re.compile(r"[A-Z0-9_ \\\0]{0,256}")
_CODE_LENGTH = 16


@cache
def safe_private() -> dict[tuple[str, int, int], str]:
    """VR by private creator (without case), group and low byte of the element.

    Example:
        >>> safe_private()["philips pet private group", 0x7053, 0x00]
        'DS'
    """
    found = {}
    with Path(__file__).with_name("safe_private.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            for element in line["elements"].split():
                low, _, vr = element.partition(":")
                found[line["creator"].casefold(), int(line["group"], 16), int(low, 16)] = vr
    return found


def creator_of(dataset: Dataset, tag: int) -> str:
    """Who reserved the block that a private element is in; ``""`` where nobody did."""
    element = dataset.get_item((tag & 0xFFFF0000) | (tag >> 8 & 0xFF))
    value = getattr(element, "value", None)
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return value.strip(" \0") if isinstance(value, str) else ""


def kept_private(dataset: Dataset) -> set[int]:
    """Tags of one data set, not of the items in it, that are safe, with those of their creators."""
    kept: set[int] = set()
    for tag in list(dataset.keys()):
        if not tag.group % 2 or tag.element < 0x1000:
            continue
        vr = safe_private().get((creator_of(dataset, tag).casefold(), tag.group, tag.element & 0xFF))
        if vr is not None and _holds(dataset, tag, vr):
            kept |= {int(tag), (tag & 0xFFFF0000) | (tag.element >> 8)}
    return kept


def _holds(dataset: Dataset, tag: int, vr: str) -> bool:
    """Whether the bytes of an element are what its VR says."""
    element = dataset.get_item(tag, keep_deferred=True)
    raw = getattr(element, "value", None)
    if not isinstance(raw, bytes):  # converted already, so it is no plain value
        return False
    if vr in BINARY:
        return len(raw) % BINARY[vr] == 0 and len(raw) // BINARY[vr] <= _MAX_VALUES
    text = raw.decode("ascii", "replace")
    if vr == "CS":
        return bool(_CODE.fullmatch(text)) and all(len(v.strip(" \0")) <= _CODE_LENGTH for v in text.split("\\"))
    return is_numeric_text(text)


def is_numeric_text(text: str) -> bool:
    r"""Whether a DS or IS holds nothing but numbers.

    Example:
        >>> is_numeric_text("1.5\\-2e3"), is_numeric_text("55F")
        (True, False)
    """
    return _DECIMAL.fullmatch(text) is not None
