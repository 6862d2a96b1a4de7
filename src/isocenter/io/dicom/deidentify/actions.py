"""The actions of Table E.1-1 applied to a data set and to everything within it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from isocenter.errors import FileFormatError
from isocenter.io.dicom.deidentify import unlisted
from isocenter.io.dicom.deidentify.cleaning import cleaned_value
from isocenter.io.dicom.deidentify.dummies import TEXT, dummy
from isocenter.io.dicom.deidentify.elements import ASCII, TEXTS, empty, plausible, read, texts, vr_of
from isocenter.io.dicom.deidentify.private import kept_private
from isocenter.io.dicom.deidentify.table import code_for, row_for, settled
from isocenter.io.dicom.deidentify.uids import well_known

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

    from isocenter.io.dicom.deidentify.keys import Secret
    from isocenter.io.dicom.deidentify.options import DeidentifyOptions
    from isocenter.io.dicom.deidentify.residue import Identifiers

__all__ = ["Cleaner", "Tally"]

MAX_DEPTH = 64
_PIXELS = {0x7FE00008, 0x7FE00009, 0x7FE00010}


@dataclass
class Tally:
    """What was done in one file or in several.

    Attributes:
        actions: Number of attributes by action.
        kept: Number of attributes by option and name that are there only because of the option.
        left: Number of texts by name that the table does not speak of, as they were.
    """

    actions: Counter[str] = field(default_factory=Counter)
    kept: Counter[tuple[str, str]] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add the counts of another one."""
        self.actions.update(other.actions)
        self.kept.update(other.kept)
        self.left.update(other.left)


@dataclass
class Cleaner:
    """De-identifies one data set in place.

    Attributes:
        options: Which options are in force.
        secret: What UIDs are derived from.
        patient: Pseudonym.
        days: Shift of dates; 0 where none is asked for.
        who: Identifiers of this data set, looked for in what is left.
        sop_class: Of this data set; it decides combined codes.
        tally: What was done.
    """

    options: DeidentifyOptions
    secret: Secret
    patient: str
    days: int
    who: Identifiers
    sop_class: str
    tally: Tally = field(default_factory=Tally)

    def clean(self, dataset: Dataset, *, depth: int = 0) -> None:
        """Apply the profile and its options to every element and item; pixel data is not looked at.

        Raises:
            FileFormatError: Sequences are nested deeper than any that is real.
        """
        _check_depth(depth)
        safe = kept_private(dataset) if self.options.keep_safe_private else set()
        for tag in list(dataset.keys()):
            if int(tag) in safe:
                if tag.element >= 0x1000:  # not the element that names the creator
                    self._count("K", "private", f"({tag.group:04x},xx{tag.element & 0xFF:02x})")
            elif int(tag) not in _PIXELS:
                self._element(dataset, int(tag), depth)

    def _element(self, dataset: Dataset, tag: int, depth: int) -> None:
        row = row_for(tag)
        if tag >> 16 in unlisted.FOREIGN_GROUPS:
            code, column = "X", "basic"
        elif row is None:
            code, column = unlisted.code_for(tag, dataset, self.options)
        else:
            code, column = code_for(row, self.options)
        if column == "private":
            code = "X"  # what is safe of them was taken out before
        if code == "leave":
            self._left(dataset, tag, depth)
            return
        if code == "K" and vr_of(dataset, tag) != "SQ":
            self._keep(dataset, tag, column)
            return
        element = read(dataset, tag) if code != "X" else None
        if element is None:
            self._remove(dataset, tag)
            return
        if code == "C":
            if self._cleaned(dataset, element, column, depth):
                self._count("C", column, element.keyword)
                return
            code = row.basic if row is not None else "X"
        self._act(dataset, element, settled(code, element.keyword, self.sop_class, nested=depth > 0), column, depth)

    def _act(self, dataset: Dataset, element: DataElement, action: str, column: str, depth: int) -> None:
        tag, vr = element.tag, vr_of(dataset, element.tag)
        if action == "X":
            self._remove(dataset, tag)
            return
        if action in "KU" and vr == "SQ":
            for item in element.value:
                self.clean(item, depth=depth + 1)
        elif action == "U" or (action == "D" and vr == "UI"):
            self._replace_uids(dataset, element)
        elif element.keyword in ("PatientID", "PatientName"):
            dataset.add_new(tag, vr, self.patient)
        elif action == "Z":
            empty(dataset, tag, vr)
        elif vr == "SQ":
            for item in element.value:
                self._hollow(item, depth + 1)
        else:
            dataset.add_new(tag, vr, dummy(vr, element))
        self._count(action, column, element.keyword)

    def _hollow(self, dataset: Dataset, depth: int) -> None:
        """Make the content of an item a dummy: its form stays, no value of it does."""
        _check_depth(depth)
        for tag in list(dataset.keys()):
            vr = vr_of(dataset, tag)
            element = None if tag.is_private or vr == "UN" else read(dataset, tag)
            if element is None:
                del dataset[tag]
            elif vr == "SQ":
                for item in element.value:
                    self._hollow(item, depth + 1)
            elif vr == "UI":
                self._replace_uids(dataset, element)
            elif vr != "CS":  # code strings say what kind of thing stands here
                dataset.add_new(tag, vr, dummy(vr, element))

    def _keep(self, dataset: Dataset, tag: int, column: str) -> None:
        """Keep as it is; a date that is no date, or a number that is none, is emptied."""
        from pydicom.datadict import keyword_for_tag

        vr, values = vr_of(dataset, tag), texts(dataset, tag)
        if values is None:
            self._remove(dataset, tag)
        elif plausible(vr, values, temporal=column == "dates"):
            self._count("K", column, keyword_for_tag(tag) or f"({tag >> 16:04x},{tag & 0xFFFF:04x})")
        else:
            empty(dataset, tag, vr)
            self._count("Z", column, "")

    def _cleaned(self, dataset: Dataset, element: DataElement, column: str, depth: int) -> bool:
        """Clean by the rule of the option's column; whether anything was left to keep."""
        if element.VR == "SQ":
            return self._cleaned_codes(dataset, element, depth)
        value = cleaned_value(element, column, self.days, self.secret, self.who)
        if value is None:
            return False
        dataset.add_new(element.tag, element.VR, value)
        return True

    def _cleaned_codes(self, dataset: Dataset, element: DataElement, depth: int) -> bool:
        from pydicom.sequence import Sequence

        items = [item for item in element.value if unlisted.is_public_code(item)]
        for item in items:
            self.clean(item, depth=depth + 1)
            if "CodeMeaning" in item:
                meaning = cleaned_value(item["CodeMeaning"], "descriptors", 0, self.secret, self.who)
                item.CodeMeaning = meaning or TEXT
        if items:
            dataset.add_new(element.tag, "SQ", Sequence(items))
        return bool(items)

    def _replace_uids(self, dataset: Dataset, element: DataElement) -> None:
        old = texts(dataset, element.tag) or []
        if any(old):
            new = [uid if well_known(uid) else self.secret.uid(uid) for uid in old if uid]
            dataset.add_new(element.tag, "UI", new[0] if len(new) == 1 else new)

    def _left(self, dataset: Dataset, tag: int, depth: int) -> None:
        """An attribute that the table does not speak of: left, unless it names the patient or is not what it says."""
        vr = vr_of(dataset, tag)
        if vr == "SQ":
            element = read(dataset, tag)
            if element is None:
                self._remove(dataset, tag)
                return
            for item in element.value:
                self.clean(item, depth=depth + 1)
            return
        raw = getattr(dataset.get_item(tag, keep_deferred=True), "value", None)
        if vr not in TEXTS | ASCII and isinstance(raw, bytes) and self.who.in_bytes(raw):
            self._remove(dataset, tag)
            return
        values = texts(dataset, tag) if len(vr) == 2 and vr[0] != "O" else []
        if values is None or not plausible(vr, values) or (vr in ("DS", "IS") and self.who.in_numbers(values)):
            empty(dataset, tag, vr)
            self._count("Z", "basic", "")
            return
        found = self.who.in_code if vr == "CS" else self.who.in_text
        if vr in (*TEXTS, "CS") and any(found(text) for text in values):
            dataset.add_new(tag, vr, TEXT)
            self._count("D", "basic", "")
        elif vr in TEXTS and any(values):
            from pydicom.datadict import keyword_for_tag

            keyword = keyword_for_tag(tag)
            if keyword not in unlisted.CODES:
                self.tally.left[keyword] += 1

    def _remove(self, dataset: Dataset, tag: int) -> None:
        del dataset[tag]
        self.tally.actions["X"] += 1

    def _count(self, action: str, column: str, name: str) -> None:
        self.tally.actions[action] += 1
        if action in ("K", "C") and column != "basic":
            self.tally.kept[column, name] += 1


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise FileFormatError(f"sequences are nested more than {MAX_DEPTH} deep; export the file again")
