"""The net under the table: what names the patient elsewhere in a file is looked for in all that is left."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from isocenter.io.dicom.deidentify.descriptors import safe_words
from isocenter.io.dicom.deidentify.elements import read, texts, vr_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Identifiers"]

_IDS = (
    *("PatientID", "OtherPatientIDs", "AccessionNumber", "MedicalRecordLocator", "AdmissionID", "ServiceEpisodeID"),
    *("PatientBirthDate", "PatientTelephoneNumbers", "ReferringPhysicianTelephoneNumbers", "RequestedProcedureID"),
    *("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest", "PatientAddress"),
    *("InsurancePlanIdentification", "PatientTelecomInformation", "InstitutionAddress"),
    *("ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"),
)
_NAME_PARTS = re.compile(r"[\s^=,.;:'’\-_/\\()]+")
_LEAST_NAME = 3
_LEAST_ID = 4
_DISTINCT = 6  # shorter identifiers count as whole words only: "1000" is part of many numbers
_LEAST_BYTES = 5  # shorter ones turn up in binary data by chance
# what anonymisers before us left in place of names
_NOBODY = {"anonymous", "anonymized", "anonymised", "anon", "unknown", "none", "null", "test", "patient", "phantom"}
_NOBODY |= {"removed", "subject", "dr", "prof", "mrs", "the", "van", "von", "der", "den", "dos", "del", "and"}
_MAX_DEPTH = 64


@dataclass
class Identifiers:
    """Words and numbers of one data set that tell who the patient, or somebody around the patient, is.

    Attributes:
        names: Single words of every person's name, without case.
        ids: Identifiers, addresses and the like as a whole, without case.
    """

    names: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, dataset: Dataset) -> Identifiers:
        """Those of a data set and of the items in it."""
        found = cls()
        found._collect(dataset, 0)
        makers = " ".join(found._values(dataset, "Manufacturer")).casefold()
        # an institution that is called as the maker is the maker's own laboratory
        found._add_ids([one for one in found._values(dataset, "InstitutionName") if one.casefold() not in makers])
        return found

    @staticmethod
    def _values(dataset: Dataset, keyword: str) -> list[str]:
        from pydicom.datadict import tag_for_keyword

        tag = tag_for_keyword(keyword)
        return (texts(dataset, tag) or []) if tag is not None and tag in dataset else []

    def _collect(self, dataset: Dataset, depth: int) -> None:
        if depth > _MAX_DEPTH:
            return
        for tag in list(dataset.keys()):
            vr = "UN" if tag.is_private else vr_of(dataset, tag)
            if vr == "PN":
                for name in texts(dataset, tag) or ():
                    self._add_name(name)
            elif vr == "SQ" and (element := read(dataset, tag)) is not None:
                for item in element.value:
                    self._collect(item, depth + 1)
        for keyword in _IDS:
            self._add_ids(self._values(dataset, keyword))

    def _add_name(self, name: str) -> None:
        words = (part.casefold() for part in _NAME_PARTS.split(name))
        self.names |= {w for w in words if _long_enough(w) and w not in _NOBODY}
        whole = name.strip("^ ").casefold()
        if len(whole) > _LEAST_ID and whole not in _NOBODY:
            self.ids.add(whole)

    def _add_ids(self, values: list[str]) -> None:
        known = (value.casefold() for value in values)
        self.ids |= {text for text in known if len(text) >= _LEAST_ID and text not in _NOBODY}

    def in_text(self, text: str) -> bool:
        """Whether one of them stands in a text: an identifier anywhere, a name as a word.

        Example:
            >>> who = Identifiers({"smith"}, {"mrn-4711"})
            >>> who.in_text("scan of SMITH, J."), who.in_text("blacksmiths"), who.in_text("xMRN-4711x")
            (True, False, True)
        """
        plain = text.casefold()
        if any(one in plain for one in self.ids if len(one) >= _DISTINCT):
            return True
        words = set(_NAME_PARTS.split(plain))
        return bool(words & self.names or words & self.ids)

    def in_code(self, text: str) -> bool:
        """As `in_text`; a code string that is a word of the field is not a name."""
        return text.casefold() not in safe_words() and self.in_text(text)

    def in_numbers(self, values: list[str]) -> bool:
        """Whether a number is one of them; short ones are equal by chance."""
        return any(value in self.ids for value in values if len(value) >= _DISTINCT)

    @cached_property
    def needles(self) -> tuple[bytes, ...]:
        """What to look for in binary data, as it might be spelled there."""
        words = {w for w in self.names | self.ids if len(w) >= _LEAST_BYTES}
        spelled = {form for w in words for form in (w, w.upper(), w.title())}
        return tuple(sorted({s.encode(code, "ignore") for s in spelled for code in ("utf-8", "utf-16-le")}))

    def in_bytes(self, data: bytes) -> bool:
        """Whether one of them stands in binary data."""
        return any(needle in data for needle in self.needles if len(needle) >= _LEAST_BYTES)


def _long_enough(word: str) -> bool:
    return len(word) >= _LEAST_NAME or (len(word) > 1 and not word.isascii())
