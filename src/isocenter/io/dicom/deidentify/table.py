"""Table E.1-1 of PS3.15: what happens to which attribute.

`table_e1_1.csv` holds every row of the table, edition 2026c, with its codes for the Basic Profile and for each option;
`attribute_types.csv` says where an attribute with a combined code such as ``X/Z/D`` is of Type 1 or 2 (PS3.3): by SOP
class, in the data set itself (root) or within sequences (nested), the strictest of all places.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from isocenter.io.dicom.deidentify.options import DeidentifyOptions

__all__ = ["EDITION", "Row", "attribute_type", "code_for", "row_for", "rows", "settled"]

EDITION = "2026c"
"""Edition of PS3.15 that the table is from."""

_HERE = Path(__file__).parent
_ROOT = "1.2.840.10008.5.1.4."
_OPTIONAL = 3


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        tag: ``"00100010"``; ``"50xxxxxx"``, ``"60xx3000"``, ``"60xx4000"`` and ``"ggggeeee"`` (private) stand for many.
        name: Of the attribute.
        basic: Code of the Basic Profile.
        options: Codes by column: private, uids, device, institution, characteristics, dates, modified, descriptors,
            structured, graphics; only those that there are.
    """

    tag: str
    name: str
    basic: str
    options: dict[str, str]


@cache
def rows() -> dict[str, Row]:
    """Every row by its tag.

    Example:
        >>> len(rows()), rows()["00080080"].basic, rows()["00080080"].options
        (656, 'X/Z/D', {'institution': 'K'})
    """
    with (_HERE / "table_e1_1.csv").open(encoding="utf-8", newline="") as file:
        found = {}
        for line in csv.DictReader(file):
            tag, name, basic = (line.pop(key) for key in ("tag", "name", "basic"))
            found[tag] = Row(tag, name, basic, {column: code for column, code in line.items() if code})
    return found


def row_for(tag: int) -> Row | None:
    """The row that speaks of a tag; ``None`` where there is none."""
    group = tag >> 16
    if group % 2:
        # the two rows of odd groups (digital signatures, trailing padding) are no private attributes
        return rows().get(f"{tag:08x}") or rows()["ggggeeee"]
    if group & 0xFF00 == 0x5000:
        return rows()["50xxxxxx"]
    if group & 0xFF00 == 0x6000:
        return rows().get(f"60xx{tag & 0xFFFF:04x}")
    return rows().get(f"{tag:08x}")


def code_for(row: Row, options: DeidentifyOptions) -> tuple[str, str]:
    """The code in force, and the column it is from (``"basic"`` or an option).

    An option overrides the profile. Where several speak of one attribute, cleaning goes before keeping: a date of
    calibration that was kept as it is beside dates that are shifted would give the shift away.

    Example:
        >>> calibrated = rows()["00181200"]
        >>> code_for(calibrated, DeidentifyOptions(keep_device=True))
        ('K', 'device')
        >>> code_for(calibrated, DeidentifyOptions(keep_device=True, shift_dates=9))
        ('C', 'modified')
    """
    said = [(row.options[column], column) for column in options.columns if column in row.options]
    return min(said, default=(row.basic, "basic"))  # "C" sorts before "K"


def settled(code: str, keyword: str, sop_class: str, *, nested: bool) -> str:
    """A combined code as one action for an attribute of this SOP class: ``"X"``, ``"Z"``, ``"D"``, ``"U"``.

    ``X/Z/U*`` is ``U``: a reference is kept with new UIDs, since it is what ties a segmentation to its image.

    Example:
        >>> pet, ct = "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.2"
        >>> [settled("X/D", "SeriesDate", sop_class, nested=False) for sop_class in (pet, ct)]
        ['D', 'X']
    """
    choices = code.rstrip("*").split("/")
    if len(choices) == 1:
        return choices[0]
    if "U" in choices:
        return "U"
    kind = attribute_type(keyword, sop_class, nested=nested)
    if kind == 1:
        return choices[-1]
    if kind == _OPTIONAL:
        return choices[0]
    return "Z" if "Z" in choices else choices[-1]


def attribute_type(keyword: str, sop_class: str, *, nested: bool) -> int:
    """1 or 2 where the attribute must be there with or without a value, else 3; the strictest for unknown classes.

    Only the attributes with combined codes are known.
    """
    classes, types = _types()
    known = types.get((keyword, nested))
    if known is None:
        return _OPTIONAL
    number = classes.get(sop_class)
    return min(known.values()) if number is None else known.get(number, _OPTIONAL)


@cache
def _types() -> tuple[dict[str, int], dict[tuple[str, bool], dict[int, int]]]:
    classes: dict[str, int] = {}
    types: dict[tuple[str, bool], dict[int, int]] = {}
    with (_HERE / "attribute_types.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            if line["keyword"] == "*":
                classes = {_ROOT + tail: n for n, tail in enumerate(line["classes"].split())}
                continue
            known = types.setdefault((line["keyword"], line["place"] == "nested"), {})
            for span in line["classes"].split():
                first, _, last = span.partition("-")
                for number in range(int(first), int(last or first) + 1):
                    known[number] = min(known.get(number, _OPTIONAL), int(line["type"]))
    return classes, types
