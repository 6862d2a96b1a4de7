"""Dates shifted by whole days, so that intervals stay and times are untouched (PS3.15 E.3.6)."""

from __future__ import annotations

import re
from datetime import date, timedelta

__all__ = ["is_temporal", "shifted"]

_DATE = re.compile(r"(\d{4})(\.?)(\d{2})\2(\d{2})")
_DATETIME = re.compile(r"(\d{4})(\d{2})?(\d{2})?((?:\d{2}){0,3}(?:\.\d{1,6})?)([+-]\d{4})?")
_TIME = re.compile(r"\d{2}:?(\d{2}:?(\d{2}(\.\d{1,6})?)?)?")
_OFFSET = re.compile(r"[+-]\d{4}")


def shifted(value: str, vr: str, days: int) -> str | None:
    """A value of DA, TM or DT some days later; ``None`` where it is no such value, or the result is no date.

    A DT keeps its time of day, its offset from UTC and its precision; where it has no day or month, that of the first
    is shifted and cut off again. A TM is returned as it is.

    Example:
        >>> shifted("20240228", "DA", 2), shifted("20240228235959.5+0100", "DT", 2), shifted("0830", "TM", 2)
        ('20240301', '20240301235959.5+0100', '0830')
        >>> shifted("Monday", "DA", 2) is None
        True
    """
    value = value.strip(" \0")
    if vr == "TM":
        return value if _TIME.fullmatch(value) else None
    if vr == "DA":
        found = _DATE.fullmatch(value)
        return _moved(found[1], found[3], found[4], days, dot=found[2]) if found else None
    found = _DATETIME.fullmatch(value)
    if found is None or (found[4] and found[3] is None):
        return None
    moved = _moved(found[1], found[2] or "01", found[3] or "01", days)
    if moved is None:
        return None
    precision = 4 + 2 * (found[2] is not None) + 2 * (found[3] is not None)
    return moved[:precision] + found[4] + (found[5] or "")


def _moved(year: str, month: str, day: str, days: int, dot: str = "") -> str | None:
    try:
        moved = date(int(year), int(month), int(day)) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return f"{moved.year:04d}{dot}{moved.month:02d}{dot}{moved.day:02d}"


def is_temporal(value: str, vr: str) -> bool:
    """Whether it is a value of DA, TM, DT, or an offset from UTC; another text in such a place is not kept.

    Example:
        >>> is_temporal("20240230", "DA"), is_temporal("+0100", "SH")
        (False, True)
    """
    if vr == "SH":
        return _OFFSET.fullmatch(value.strip(" \0")) is not None
    return shifted(value, vr, 0) is not None
