"""What is kept, and how: the options of PS3.15 E.3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isocenter.errors import ConfigError

__all__ = ["METHOD_CODES", "DeidentifyOptions"]

METHOD_CODES = {
    "basic": ("113100", "Basic Application Confidentiality Profile"),
    "descriptors": ("113105", "Clean Descriptors Option"),
    "dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "modified": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "characteristics": ("113108", "Retain Patient Characteristics Option"),
    "device": ("113109", "Retain Device Identity Option"),
    "uids": ("113110", "Retain UIDs Option"),
    "private": ("113111", "Retain Safe Private Option"),
    "institution": ("113112", "Retain Institution Identity Option"),
}
"""Code and meaning of the profile and of each option by its column of the table: CID 7050, coding scheme DCM."""

MAX_SHIFT_DAYS = 36500


@dataclass(frozen=True, kw_only=True)
class DeidentifyOptions:
    """Options beside the Basic Profile. The default is the Basic Profile alone.

    Attributes:
        keep_uids: Retain UIDs.
        keep_dates: Retain Longitudinal Temporal Information with Full Dates.
        shift_dates: With Modified Dates: whole days that are added to every date, or ``"auto"``: between 1 and 3650
            days back, drawn for each patient from the key. Intervals within a patient are kept, times are untouched.
        keep_device: Retain Device Identity.
        keep_institution: Retain Institution Identity.
        keep_characteristics: Retain Patient Characteristics (age, sex, size, weight ...).
        keep_safe_private: Retain Safe Private: numbers and code strings of Table E.3.10-1.
        clean_descriptors: Clean Descriptors: of descriptions, the words of a list of known ones are kept.
        keep_burned_in: Write images as well that may show a name or a face in their pixels.

    Raises:
        ConfigError: Two options contradict each other, or the shift is 0 or too large.

    Example:
        >>> DeidentifyOptions(shift_dates=-100, keep_device=True).columns
        ('modified', 'device')
        >>> DeidentifyOptions(keep_dates=True, shift_dates=3)
        Traceback (most recent call last):
        isocenter.errors.ConfigError: keep_dates and shift_dates exclude each other; give one of them
    """

    keep_uids: bool = False
    keep_dates: bool = False
    shift_dates: int | Literal["auto"] | None = None
    keep_device: bool = False
    keep_institution: bool = False
    keep_characteristics: bool = False
    keep_safe_private: bool = False
    clean_descriptors: bool = False
    keep_burned_in: bool = False

    def __post_init__(self) -> None:
        days = self.shift_dates
        if self.keep_dates and days is not None:
            raise ConfigError("keep_dates and shift_dates exclude each other; give one of them")
        if days in (None, "auto"):
            return
        if not isinstance(days, int) or isinstance(days, bool) or not 1 <= abs(days) <= MAX_SHIFT_DAYS:
            raise ConfigError(
                f"shift_dates is {days!r}; give whole days from -{MAX_SHIFT_DAYS} to {MAX_SHIFT_DAYS}, not 0, or 'auto'"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of Table E.1-1 that are in force beside the Basic Profile."""
        chosen = {
            "uids": self.keep_uids,
            "dates": self.keep_dates,
            "modified": self.shift_dates is not None,
            "device": self.keep_device,
            "institution": self.keep_institution,
            "characteristics": self.keep_characteristics,
            "private": self.keep_safe_private,
            "descriptors": self.clean_descriptors,
        }
        return tuple(name for name, on in chosen.items() if on)

    @property
    def method_codes(self) -> tuple[tuple[str, str], ...]:
        """Codes and meanings for De-identification Method Code Sequence (0012,0064)."""
        return tuple(METHOD_CODES[name] for name in ("basic", *sorted(self.columns, key=lambda c: METHOD_CODES[c])))

    @property
    def temporal(self) -> str:
        """Longitudinal Temporal Information Modified (0028,0303)."""
        if self.keep_dates:
            return "UNMODIFIED"
        return "REMOVED" if self.shift_dates is None else "MODIFIED"
