"""The Clean Descriptors Option: of a description, the words that are known to be harmless are kept (PS3.15 E.3.5)."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["STANDARD_SCHEMES", "cleaned", "safe_words"]

STANDARD_SCHEMES = {"DCM", "SCT", "SRT", "SNM3", "LN", "UCUM", "RADLEX", "FMA", "NCIt", "UMLS", "ICD10", "I10", "I9C"}
"""Coding schemes that are no hospital's own; of others the meaning of a code is not known."""

_PHRASES = re.compile(r"[,;:()\[\]{}<>|\\]")
_BETWEEN = re.compile(r"[\s&=\"_]+")
_SIZE = re.compile(r"\d{1,2}([.,]\d{1,3})?(mm|cm|kv|kvp|s|sec|ms)")
_VALUE = re.compile(r"b\d{1,4}|[1-9](\.\d)?t|[ctl]\d{1,2}(-[ctls]?\d{1,2})?")
# after these a name follows, even one that is a word as well: "Dr. Hand"
_BEFORE_NAMES = {
    *("dr", "prof", "doctor", "professor", "mr", "mrs", "ms", "miss", "mister", "herr", "frau", "hr", "fr", "mme"),
    *("mlle", "sir", "md", "phd", "nurse", "physician", "radiologist", "technologist", "tech", "operator", "patient"),
    *("pat", "name", "by", "ref", "referred", "referring"),
}
_NAMES_AFTER = 2


@cache
def safe_words() -> frozenset[str]:
    """The words that are kept."""
    lines = Path(__file__).with_name("safe_words.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.casefold().split())


def cleaned(text: str, names: Container[str] = ()) -> str:
    """The known words of a text, in their order.

    Args:
        text: One value of a description.
        names: Words, without case, that belong to names in the same data set: not kept though they are known.

    Example:
        >>> cleaned("CT chest abdomen pelvis - 55F Dr. Smith")
        'CT chest abdomen pelvis'
        >>> cleaned("Hand AP, Dr. Hand, T1 FLAIR 0.9mm"), cleaned("Axial Foot", names={"foot"})
        ('Hand AP T1 FLAIR 0.9mm', 'Axial')
    """
    if "^" in text:  # the form of a person's name
        return ""
    kept = []
    for phrase in _PHRASES.split(text):
        skip = 0
        for word in _BETWEEN.split(phrase):
            plain = word.casefold() if word.casefold() in ("c+", "c-") else word.casefold().strip(".-!?'’*#+/")
            if plain in _BEFORE_NAMES:
                skip = _NAMES_AFTER
            elif plain and skip and not _SIZE.fullmatch(plain):
                skip -= 1
            elif plain and plain not in names and _known(plain):
                kept.append(word.strip(".!?'’#"))
    return " ".join(kept)


def _known(plain: str) -> bool:
    if plain in safe_words() or _SIZE.fullmatch(plain) or _VALUE.fullmatch(plain):
        return True
    parts = [part for part in re.split(r"[-/+.]", plain) if part]
    return len(parts) > 1 and all(part in safe_words() for part in parts)
