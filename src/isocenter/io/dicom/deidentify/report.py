"""What was done, kept, left and held back: nothing in it identifies a patient."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isocenter.io.dicom.deidentify.actions import Tally
from isocenter.io.dicom.deidentify.held import REASONS
from isocenter.io.dicom.deidentify.table import EDITION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isocenter.io.dicom.deidentify.options import DeidentifyOptions
    from isocenter.io.dicom.deidentify.process import Outcome

__all__ = ["Deidentification", "summary"]

_PIXEL_REASONS = {
    "burned-in",
    "secondary-capture",
    "ultrasound",
    "photograph",
    "report-image",
    "colour",
    "overlay-bits",
}


@dataclass(frozen=True)
class Deidentification:
    """What a de-identification did.

    Attributes:
        out: Folder that was written.
        written: Files in it.
        patients: How many; likewise ``studies`` and ``series``.
        studies: See ``patients``.
        series: See ``patients``.
        profile: Edition of PS3.15, and codes and meanings of profile and options.
        actions: Number of attributes by action: X removed, Z emptied, D dummy, U new UID, K kept and C cleaned
            by an option.
        kept: Number of attributes by option and name that are there because of an option.
        left: Number of texts by name that the table does not speak of and that were left.
        held: Files that were not written; their numbers follow the order of the paths.
        not_dicom: Number of files that are not DICOM, or a directory of a disc; they were not copied.
        warnings: What the person who is responsible should know.
        sources: Path within the input by number of each file, for the owner of the originals; not in `to_dict`.
    """

    out: Path
    written: int
    patients: int
    studies: int
    series: int
    profile: dict[str, Any]
    actions: dict[str, int]
    kept: dict[str, dict[str, int]]
    left: dict[str, int]
    held: tuple[dict[str, Any], ...]
    not_dicom: int
    warnings: tuple[str, ...]
    sources: dict[int, str] = field(default_factory=dict, repr=False)

    @property
    def held_by_reason(self) -> dict[str, int]:
        """Number of files that were held back by reason."""
        return dict(Counter(entry["reason"] for entry in self.held).most_common())

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without anything that identifies: no path, no old UID, no name."""
        names = ("written", "patients", "studies", "series", "profile", "actions", "kept", "left", "not_dicom")
        plain = {name: getattr(self, name) for name in names}
        return plain | {"held": list(self.held), "warnings": list(self.warnings)}


def summary(out: Path, outcomes: Sequence[Outcome], options: DeidentifyOptions, not_dicom: int) -> Deidentification:
    """The report of all files together."""
    tally = Tally()
    for outcome in outcomes:
        tally.add(outcome.tally)
    done = [o for o in outcomes if not o.held]
    kept: dict[str, dict[str, int]] = {}
    for (option, name), count in sorted(tally.kept.items()):
        kept.setdefault(option, {})[name] = count
    return Deidentification(
        out=out,
        written=len(done),
        patients=len({o.patient for o in done}),
        studies=len({o.study for o in done}),
        series=len({o.series for o in done}),
        profile={
            "standard": f"DICOM PS3.15 {EDITION} Annex E",
            "codes": [{"code": code, "meaning": meaning} for code, meaning in options.method_codes],
        },
        actions=dict(sorted(tally.actions.items())),
        kept=kept,
        left=dict(sorted(tally.left.items())),
        held=tuple(_entry(o) for o in outcomes if o.held),
        not_dicom=not_dicom,
        warnings=_warnings(done, options),
        sources={o.number: o.source for o in outcomes},
    )


def _entry(outcome: Outcome) -> dict[str, Any]:
    known = {k: getattr(outcome, k) for k in ("patient", "study", "series", "instance") if getattr(outcome, k)}
    text = REASONS[outcome.held]
    if outcome.held in _PIXEL_REASONS:
        text += "; --keep-burned-in writes it all the same"
    return {"file": outcome.number, "reason": outcome.held, "text": text, **known}


def _warnings(done: Sequence[Outcome], options: DeidentifyOptions) -> tuple[str, ...]:
    faces, series = sum(o.face for o in done), len({o.series for o in done if o.face})
    flagged = Counter(o.flagged for o in done if o.flagged)
    said = ["pixels are copied as they are: nothing in them was looked for"] if done else []
    if faces:
        said.append(
            f"{faces} images of {series} series are of the head: a face can be drawn from such a volume, and the Clean"
            " Recognizable Visual Features Option is not implemented"
        )
    if flagged:
        kinds = ", ".join(f"{count} {kind}" for kind, count in flagged.items())
        said.append(f"images were written that may show a name or a person in their pixels: {kinds}; look at them")
    if options.keep_uids:
        said.append("UIDs are the original ones: who has the originals can match them")
    if options.keep_dates:
        said.append("dates are the original ones")
    return tuple(said)
