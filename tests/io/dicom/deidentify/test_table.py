"""Every row of Table E.1-1 under every option, against what PS3.15 E.1 says that the codes mean."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import highdicom
import pytest
from pydicom.datadict import dictionary_description, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from isocenter.io.dicom.deidentify import table

CSV = Path(table.__file__).with_name("table_e1_1.csv")
CT, PET, ENHANCED = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("2", "128", "2.1"))
# option of ours: its column in the table
OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "basic": ({}, ""),
    "uids": ({"keep_uids": True}, "uids"),
    "dates": ({"keep_dates": True}, "dates"),
    "modified": ({"shift_dates": -100}, "modified"),
    "device": ({"keep_device": True}, "device"),
    "institution": ({"keep_institution": True}, "institution"),
    "characteristics": ({"keep_characteristics": True}, "characteristics"),
    "private": ({"keep_safe_private": True}, "private"),
    "descriptors": ({"clean_descriptors": True}, "descriptors"),
}
VALUES: dict[str, Any] = {
    "AE": "SCANNER7",
    "AS": "055Y",
    "CS": "SOMETHING",
    "DA": "20240229",
    "DT": "20240229101112.5+0200",
    "TM": "101112.5",
    "DS": "12.5",
    "IS": "7",
    "UI": "1.2.276.0.4711.1",
    "PN": "Brown^Ann",
    "UR": "https://host.example/x",
    **dict.fromkeys(("LO", "SH"), "axial brown"),
    **dict.fromkeys(("ST", "LT", "UT", "UC"), "axial brown"),
    **dict.fromkeys(("OB", "OW", "UN"), b"\1\2\3\4"),
    **dict.fromkeys(("US", "SS", "UL", "SL"), 7),
    **dict.fromkeys(("FL", "FD"), 7.5),
}


def rows() -> list[dict[str, str]]:
    with CSV.open(newline="") as file:
        return list(csv.DictReader(file))


def concrete() -> dict[int, dict[str, str]]:
    """Rows of one attribute each, without those of commands, meta information and directories."""
    found = {int(r["tag"], 16): r for r in rows() if re.fullmatch("[0-9a-f]{8}", r["tag"])}
    return {tag: r for tag, r in found.items() if tag >> 16 not in (0x0000, 0x0002, 0x0004)}


def vr_of(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:  # newer than the dictionary; its name tells
        name = concrete()[tag]["name"]
        return "SQ" if name.endswith("Sequence") else "DT" if name.endswith("DateTime") else "LT"


@cache
def types() -> dict[tuple[str, bool, str], int]:
    """Strictest type by keyword, whether within a sequence, and SOP class: from highdicom's copy of PS3.3."""
    folder = Path(highdicom.__file__).parent / "_standard"
    iods, modules, classes = (
        json.loads((folder / f"{name}.json").read_text())
        for name in ("iod_module_map", "module_attribute_map", "sop_class_iod_map")
    )
    found: dict[tuple[str, bool, str], int] = {}
    for sop_class in (CT, PET, ENHANCED):
        for module in iods[classes[sop_class]]:
            for attribute in modules.get(module["key"], ()):
                key = (attribute["keyword"], bool(attribute["path"]), sop_class)
                found[key] = min(found.get(key, 3), int(attribute["type"][0]) if attribute["type"][0] in "123" else 3)
    return found


def plain(code: str, tag: int, nested: bool, sop_class: str) -> str:
    """The action that a code means here: "X unless Z or D is required to maintain IOD conformance"."""
    kind = types().get((keyword_for_tag(tag), nested, sop_class), 3)
    return {
        "X/Z": {3: "X", 2: "Z", 1: "Z"},
        "X/D": {3: "X", 2: "D", 1: "D"},
        "Z/D": {3: "Z", 2: "Z", 1: "D"},
        "X/Z/D": {3: "X", 2: "Z", 1: "D"},
        "X/Z/U*": {3: "U", 2: "U", 1: "U"},  # references are kept with new UIDs
    }.get(code, {kind: code})[kind]


def item() -> Dataset:
    """What stands in every sequence: something to remove, to replace, and to leave."""
    inside = Dataset()
    inside.PatientName = "Brown^Ann"
    inside.ReferencedSOPClassUID = CT
    inside.ReferencedSOPInstanceUID = "1.2.276.0.4711.9"
    inside.CodeValue, inside.CodingSchemeDesignator, inside.CodeMeaning = "T-28000", "SRT", "Lung"
    return inside


def full() -> Dataset:
    """Every attribute of the table, with a value."""
    dataset = Dataset()
    for tag in concrete():
        vr = vr_of(tag)
        dataset.add_new(tag, vr, Sequence([item()]) if vr == "SQ" else VALUES[vr])
    dataset[0x00080201].value = "+0200"  # an offset from UTC is text of its own kind
    return dataset


@pytest.fixture(scope="module", params=[(CT, False), (PET, False), (ENHANCED, True)], ids=["ct", "pet", "nested"])
def place(request: pytest.FixtureRequest) -> tuple[str, bool]:
    return request.param


@pytest.mark.parametrize("option", OPTIONS)
def test_every_row(
    option: str, place: tuple[str, bool], cleaned: Callable[..., Any], reread: Callable[..., Any]
) -> None:
    sop_class, nested = place
    whole = full()
    if nested:  # a sequence that the table does not name
        whole = Dataset()
        whole.ReferencedSeriesSequence = Sequence([full()])
    before, after = reread(whole), reread(whole)
    chosen, column = OPTIONS[option]
    cleaned(after, sop_class, **chosen)
    if nested:
        before, after = before.ReferencedSeriesSequence[0], after.ReferencedSeriesSequence[0]
    wrong = []
    for tag, row in concrete().items():
        code = row[column] if column and row[column] else row["basic"]
        expected = plain(code, tag, nested, sop_class)
        text = f"{row['tag']} {row['name']} {code}: {after.get(tag)}"
        if expected == "C" and not possible(column, before[tag].VR):
            expected = plain(row["basic"], tag, nested, sop_class)
        if not CHECKS[expected](tag, before, after):
            wrong.append(text)
    assert wrong == []


def possible(column: str, vr: str) -> bool:
    """Whether a value can be cleaned: bytes, code strings and sequences of unlisted meaning cannot."""
    return vr not in ("OB", "OW", "CS", "UN") or (column == "modified" and vr == "SH")


def removed(tag: int, _: Dataset, after: Dataset) -> bool:
    return tag not in after


def emptied(tag: int, _: Dataset, after: Dataset) -> bool:
    if keyword_for_tag(tag) in ("PatientID", "PatientName"):
        return bool(after[tag].value == "PSEUDONYM")
    return tag in after and after[tag].is_empty


def dummied(tag: int, before: Dataset, after: Dataset) -> bool:
    if tag not in after or after[tag].is_empty:
        return False
    if after[tag].VR == "SQ":
        inside = after[tag].value[0]
        return len(after[tag].value) == 1 and not leaks(inside) and inside.CodeMeaning != "Lung"
    return bool(after[tag].value != before[tag].value and after[tag].VR == before[tag].VR)


def renewed(tag: int, before: Dataset, after: Dataset) -> bool:
    if before[tag].VR == "SQ":
        inside = after[tag].value[0]
        return inside.ReferencedSOPClassUID == CT and not leaks(inside) and inside.CodeMeaning == "Lung"
    new = str(after[tag].value)
    # one UID went in everywhere, so one comes out everywhere
    return new.startswith("2.25.") and len(new) <= 64 and new == str(after[0x0040A124].value) != str(before[tag].value)


def kept(tag: int, before: Dataset, after: Dataset) -> bool:
    if before[tag].VR == "SQ":
        return not named(after[tag].value[0]) and after[tag].value[0].ReferencedSOPClassUID == CT
    return tag in after and bool(after[tag].value == before[tag].value)


def cleaned_value(tag: int, before: Dataset, after: Dataset) -> bool:
    vr, new = before[tag].VR, after[tag].value if tag in after else None
    if vr == "SQ":
        return not named(new[0]) and new[0].CodeMeaning == "Lung"
    if vr == "DA":
        return bool(new == f"{date(2024, 2, 29) - timedelta(days=100):%Y%m%d}")
    if vr == "DT":
        return bool(new == f"{date(2024, 2, 29) - timedelta(days=100):%Y%m%d}101112.5+0200")
    if vr == "AE":
        return bool(new) and len(new) <= 16 and new != before[tag].value
    if vr == "TM" or tag == 0x00080201:
        return bool(new == before[tag].value)
    return bool(new == "axial")


CHECKS = {"X": removed, "Z": emptied, "D": dummied, "U": renewed, "K": kept, "C": cleaned_value}


def named(dataset: Dataset) -> bool:
    return "Brown" in str(dataset)


def leaks(dataset: Dataset) -> bool:
    return named(dataset) or "4711" in str(dataset)


def test_rows_of_many_attributes(cleaned: Callable[..., Any], reread: Callable[..., Any]) -> None:
    """Curves, overlays and private attributes are removed whatever is asked for."""
    dataset = Dataset()
    for group in (0x5000, 0x501E):
        dataset.add_new((group, 0x2500), "LO", "curve of Brown")
        dataset.add_new((group, 0x3000), "OW", b"\1\2")
    for group in (0x6000, 0x601E):
        dataset.add_new((group, 0x0010), "US", 8)
        dataset.add_new((group, 0x3000), "OW", b"\1\2")
        dataset.add_new((group, 0x4000), "LT", "overlay of Brown")
    dataset.private_block(0x0029, "SOMEBODY", create=True).add_new(1, "LO", "private to Brown")
    dataset.Modality = "CT"
    for chosen, _ in OPTIONS.values():
        after = reread(dataset)
        cleaned(after, **chosen)
        assert [keyword_for_tag(t) for t in list(after.keys())] == ["Modality"]


def test_groups_that_are_no_part_of_a_data_set(cleaned: Callable[..., Any]) -> None:
    dataset = Dataset()
    for tag in (0x00001000, 0x00001001, 0x00020003, 0x00041511):
        dataset.add_new(tag, "UI", "1.2.276.0.4711.1")
    cleaned(dataset, keep_uids=True)
    assert not dataset


def test_an_attribute_that_nobody_knows_is_removed(cleaned: Callable[..., Any], reread: Callable[..., Any]) -> None:
    dataset = Dataset()
    dataset.add_new(0x00101FFE, "LO", "Brown")
    dataset.add_new(0x7FE00055, "LO", "Brown")
    after = reread(dataset)
    cleaned(after)
    assert not after


def test_the_table_is_whole() -> None:
    """The figures of PS3.15 2026c; names as the data dictionary has them, so that no tag is misspelled."""
    every = rows()
    assert table.EDITION == "2026c"
    assert len(every) == len({r["tag"] for r in every}) == 656
    basic = {"X": 416, "D": 93, "U": 55, "Z": 42, "X/D": 23, "X/Z": 11, "X/Z/D": 8, "Z/D": 6, "X/Z/U*": 2}
    assert Counter(r["basic"] for r in every) == basic
    counts = {
        name: Counter(r[name] for r in every if r[name]) for name in every[0] if name not in ("tag", "name", "basic")
    }
    assert counts == {
        "private": {"C": 1},
        "uids": {"K": 60},
        "device": {"K": 48, "C": 11},
        "institution": {"K": 10},
        "characteristics": {"K": 14, "C": 5},
        "dates": {"K": 169},
        "modified": {"C": 169},
        "descriptors": {"C": 140},
        "structured": {"C": 4},
        "graphics": {"C": 4},
    }
    differing = set()
    for tag, row in concrete().items():
        try:
            name = dictionary_description(tag)
        except KeyError:
            continue
        if re.sub(r"\W", "", name).casefold() != re.sub(r"\W", "", row["name"]).casefold():
            differing.add(row["tag"])
    assert differing == set()
    assert {r["tag"] for r in every} >= {
        "00100010",
        "00100011",
        "0020000d",
        "50xxxxxx",
        "60xx3000",
        "ggggeeee",
        "fffafffa",
    }
