"""Dates and times of DICOM elements as moments that can be compared (PS3.5 6.2: DA, TM, DT)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isocenter.io.dicom.header import Header

__all__ = ["date_and_time", "date_time", "time_of_day"]

_TIME = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d{1,6})\d*)?)?)?\s*")
_DATE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)\s*")
_ZONE = re.compile(r"([+-])(\d\d)(\d\d)\s*$")


def time_of_day(text: str) -> timedelta | None:
    """Time since midnight; ``None`` where ``text`` is no time.

    Example:
        >>> time_of_day("0930"), time_of_day("09:30:01.5"), time_of_day("9h")
        (datetime.timedelta(seconds=34200), datetime.timedelta(seconds=34201, microseconds=500000), None)
    """
    found = _TIME.fullmatch(text)
    if not found:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups()[:3])
    if hours > 23 or minutes > 59 or seconds > 60:  # a leap second is written as 60
        return None
    return timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=int((found[4] or "").ljust(6, "0")))


def date_and_time(header: Header, date: str, time: str) -> datetime | None:
    """Moment that two elements state together, on the scanner's clock; ``None`` where one does not."""
    day, since = _day(header.text(date)), time_of_day(header.text(time))
    return None if day is None or since is None else day + since


def date_time(text: str, *, zone: str = "") -> datetime | None:
    """Moment of a DT value, on the clock whose offset from UTC is ``zone``; ``None`` where it states no hour.

    An offset in ``text`` counts only where ``zone`` is known; otherwise both clocks are taken for the same.

    Example:
        >>> date_time("20200131233000.5").isoformat(), date_time("20200131")
        ('2020-01-31T23:30:00.500000', None)
        >>> date_time("20200131223000+0000", zone="+0100").isoformat()
        '2020-01-31T23:30:00'
    """
    own = _ZONE.search(text)
    plain = text[: own.start()] if own else text
    day, since = _day(plain[:8]), time_of_day(plain[8:])
    if day is None or since is None:
        return None
    there = _ZONE.search(zone)
    if not (own and there):
        return day + since
    return (day + since).replace(tzinfo=_offset(own)).astimezone(_offset(there)).replace(tzinfo=None)


def _offset(found: re.Match[str]) -> timezone:
    ahead = timedelta(hours=min(int(found[2]), 23), minutes=min(int(found[3]), 59))
    return timezone(ahead if found[1] == "+" else -ahead)


def _day(text: str) -> datetime | None:
    found = _DATE.fullmatch(text)
    try:
        return datetime(int(found[1]), int(found[2]), int(found[3])) if found else None
    except ValueError:
        return None
