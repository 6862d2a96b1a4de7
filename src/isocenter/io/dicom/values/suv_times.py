"""The two moments between which a PET tracer decays: its administration, and the one that pixel values stand for."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from isocenter.errors import SeriesError
from isocenter.io.dicom.header import tag_name
from isocenter.io.dicom.values.clock import date_and_time, date_time, time_of_day

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isocenter.io.dicom.header import Header

__all__ = ["administered_at", "corrected_to"]

_GE_START = "0009,0D:GEMS_PETD_01"
_SAME_S = 60  # two elements that state one moment, to the minute
_LATER = "the series is dated later than its acquisition: "
_REMEDY = "add it, or use the values in the unit they have"

Moments = tuple[list[datetime], tuple[str, ...]]
"""One a slice, and what has to be said about how they were found."""


def corrected_to(headers: Sequence[Header], kind: str, half_life_s: float) -> Moments:
    """The moment at which the activity of each slice was what its pixels say.

    Args:
        headers: Of all slices of the series.
        kind: Of decay correction: ``START``, ``STATED`` (in Decay Correction DateTime) or ``NONE``.
        half_life_s: Of the nuclide.

    Raises:
        SeriesError: An element that states it is absent.
    """
    if kind == "STATED":
        return [_stated(h) for h in headers], ()
    if kind == "NONE":
        note = "values are not decay corrected: each slice was taken at the moment of its average count rate"
        return [_acquired(h) + _to_average(h, half_life_s) for h in headers], (note,)
    return _scan_start(headers, half_life_s)


def _scan_start(headers: Sequence[Header], half_life_s: float) -> Moments:
    series = [date_and_time(h, "SeriesDate", "SeriesTime") for h in headers]
    acquired = [_acquired(h) for h in headers]
    known = [moment for moment in series if moment is not None]
    if len(known) == len(series) and max(known) <= min(acquired):
        return known, ()
    private = [date_time(h.text(_GE_START), zone=_zone(h)) for h in headers]
    of_ge = [moment for moment in private if moment is not None]
    if len(of_ge) == len(headers):
        return of_ge, (_LATER + "the private scan start (0009,xx0D) of GE was used",)
    if all(_milliseconds(h, "FrameReferenceTime") and _milliseconds(h, "ActualFrameDuration") for h in headers):
        starts = [
            moment + _to_average(h, half_life_s) - timedelta(milliseconds=_milliseconds(h, "FrameReferenceTime"))
            for h, moment in zip(headers, acquired, strict=True)
        ]
        return starts, (_LATER + "its start was computed from FrameReferenceTime (0054,1300)",)
    note = _LATER + "the earliest AcquisitionTime (0008,0032) was taken for its start"
    return [min(acquired)] * len(headers), (note,)


def _stated(header: Header) -> datetime:
    moment = date_time(header.text("DecayCorrectionDateTime"), zone=_zone(header))
    if moment is None:
        raise _absent(header, "DecayCorrectionDateTime")
    return moment


def _acquired(header: Header) -> datetime:
    """When the frame of a slice began."""
    whole = date_time(header.text("AcquisitionDateTime"), zone=_zone(header))
    parts = date_and_time(header, "AcquisitionDate", "AcquisitionTime")
    moment = (whole or parts) if header.frame is not None else (parts or whole)
    if moment is None:
        raise _absent(header, "AcquisitionTime")
    return moment


def _to_average(header: Header, half_life_s: float) -> timedelta:
    """From the start of a frame to the moment at which the activity was the mean over the frame."""
    duration = _milliseconds(header, "ActualFrameDuration") / 1000
    if not duration:
        raise _absent(header, "ActualFrameDuration")
    rate = math.log(2) / half_life_s
    return timedelta(seconds=math.log(rate * duration / -math.expm1(-rate * duration)) / rate)


def _milliseconds(header: Header, keyword: str) -> float:
    return max(header.number(keyword, 0.0), 0.0)


def administered_at(header: Header, agent: Header, before: datetime) -> datetime:
    """When the tracer was given: as stated with its date, else the last time of that name ``before`` the scan.

    Raises:
        SeriesError: It is not stated, or twice and not alike.
    """
    whole = date_time(agent.text("RadiopharmaceuticalStartDateTime"), zone=_zone(header))
    clock = time_of_day(agent.text("RadiopharmaceuticalStartTime"))
    if whole is None and clock is None:
        raise _absent(header, "RadiopharmaceuticalStartTime")
    if clock is None:
        return whole or before
    day = whole or before
    moment = datetime(day.year, day.month, day.day) + clock
    if whole is None:
        return moment if moment <= before else moment - timedelta(days=1)
    apart = abs((moment - whole).total_seconds())
    if min(apart, abs(apart - 86400)) > _SAME_S:
        raise SeriesError(
            f"{header.file}: RadiopharmaceuticalStartDateTime (0018,1078) and RadiopharmaceuticalStartTime (0018,1072)"
            f" are {apart:.0f} s apart; correct one of them"
        )
    return whole


def _zone(header: Header) -> str:
    return header.text("TimezoneOffsetFromUTC")


def _absent(header: Header, keyword: str) -> SeriesError:
    return SeriesError(
        f"{header.file}: {tag_name(keyword)} is absent or no time, without it there is no SUV; {_REMEDY}"
    )
