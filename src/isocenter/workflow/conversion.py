"""One conversion: what was asked, what is under way, and what became of it."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from isocenter.errors import IsocenterError
from isocenter.workflow.drawn import DRAWN, write_labels
from isocenter.workflow.joining import Joined, join
from isocenter.workflow.writing import Written, write_image

if TYPE_CHECKING:
    from isocenter.io.dicom import GeometryPolicy, Scan, Series, Stack
    from isocenter.workflow.filenames import FileNames

__all__ = ["Conversion", "ConvertOptions", "NotConverted", "Work", "series_name"]

_LOG = logging.getLogger(__name__)
_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_UID = re.compile(r"\b\d+(\.\d+){5,}\b")


class ConvertOptions(TypedDict, total=False):
    """What may be asked of a conversion.

    Attributes:
        series: Series Instance UIDs or series numbers of the only series to convert.
        suv: PET as SUVbw instead of as stored.
        labels: Segmentations (DICOM SEG) and contours (RTSTRUCT) as label maps on the grid of their images.
        name: Template of file names; see `isocenter.workflow.filenames.FileNames`.
        anonymous: Leave identifiers out of names and JSON files.
    """

    series: Sequence[str]
    suv: bool
    labels: bool
    name: str | None
    anonymous: bool


@dataclass(frozen=True)
class NotConverted:
    """Something that became no file, and why.

    Attributes:
        what: Series number and modality, with what tells a stack from the others.
        code: Stable short name of the reason: that of a `Problem`, or of the error.
        reason: What, where, the value found, what to do.
        expected: It is no image of its own (a scout view, a report ...), so that nothing is lost.
    """

    what: str
    code: str
    reason: str
    expected: bool = False


@dataclass(frozen=True)
class Conversion:
    """What became of a folder.

    Attributes:
        images: Files written, image after image; label maps too.
        not_converted: The rest, named.
        ignored: Files that are not DICOM.
    """

    images: tuple[Written, ...]
    not_converted: tuple[NotConverted, ...] = ()
    ignored: int = 0

    @property
    def refused(self) -> tuple[NotConverted, ...]:
        """Images that should have become files."""
        return tuple(n for n in self.not_converted if not n.expected)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self) | {"converted": len(self.images), "refused": len(self.refused)}


@dataclass
class Work:
    """One conversion under way."""

    folder: Path
    names: FileNames
    policy: GeometryPolicy
    options: ConvertOptions
    written: list[Written] = field(default_factory=list)
    lost: list[NotConverted] = field(default_factory=list)
    images: dict[str, Joined] = field(default_factory=dict)
    _paths: dict[int, re.Pattern[str]] = field(default_factory=dict)

    @property
    def anonymous(self) -> bool:
        """Identifiers are left out."""
        return self.options.get("anonymous", False)

    def take(self, series: Series) -> None:
        """Convert one series as far as it can be."""
        for aside in series.aside:
            self._leave(series, "", "aside", f"{aside.file}: {aside.reason}", expected=True)
        if series.modality in DRAWN:
            self._labels(series)
            return
        sound, lost = [], []
        for stack in series.stacks():
            try:
                sound.append((stack, stack.grid(self.policy)))
            except IsocenterError as error:
                lost.append(stack)
                code = next((p.code for p in stack.problems(self.policy)), type(error).__name__)
                self._leave(series, stack.label, code, str(error), expected=_is_no_image(stack, code))
        for image in join(series, sound, lost):
            try:
                self._image(image)
            except IsocenterError as error:
                self._leave(series, image.label, type(error).__name__, str(error))

    def _image(self, image: Joined) -> None:
        name = self.names.of(image.series, image.label)
        suv = self.options.get("suv", False) and image.series.modality == "PT"
        self.written.append(
            write_image(self.folder, name, image, policy=self.policy, suv=suv, anonymous=self.anonymous)
        )
        self.images[name] = image

    def _labels(self, series: Series) -> None:
        if not self.options.get("labels", False):
            self._leave(series, "", "labels", "is drawn on other images; ask for labels (--labels)", expected=True)
            return
        for header in series.headers:
            try:
                self.written.append(write_labels(self.folder, self.names, series, header.file, self.images))
            except IsocenterError as error:
                self._leave(series, "", type(error).__name__, str(error))

    def _leave(self, series: Series, label: str, code: str, reason: str, *, expected: bool = False) -> None:
        if self.anonymous:
            reason = _UID.sub("(UID)", self._paths_of(series).sub("a file", reason))
        self.lost.append(NotConverted(series_name(series, label), code, reason, expected))

    def _paths_of(self, series: Series) -> re.Pattern[str]:
        """Fits the path of any file of a series; made once, since there may be as many reasons as files."""
        key = id(series)
        if key not in self._paths:
            files = sorted({h.file for h in series.headers}, key=len, reverse=True)
            self._paths[key] = re.compile("|".join(map(re.escape, files)))
        return self._paths[key]

    def done(self, scan: Scan, opened_at: Path, path: Path) -> Conversion:
        """The result, once every series was taken."""
        for file, reason in scan.damaged.items():
            told = reason.replace(file, "a file") if self.anonymous else reason
            self.lost.append(NotConverted("a damaged file", "damaged-file", told))
        # the path as it was given, not where an archive was unpacked
        lost = [replace(n, reason=n.reason.replace(str(opened_at), str(path))) for n in self.lost]
        for n in lost:
            if not n.expected:
                _LOG.warning("not converted: %s: %s", n.what, n.reason)
        return Conversion(tuple(self.written), tuple(lost), len(scan.ignored))


def series_name(series: Series, stack: str = "") -> str:
    """Number and modality, with what tells a stack from the others."""
    number = series.headers[0].text("SeriesNumber") or "without number"
    return f"series {number} ({series.modality}{', ' + stack if stack else ''})"


def _is_no_image(stack: Stack, code: str) -> bool:
    """Reports, plans, captured screens and scout views, of which nobody expects a volume."""
    header = stack.headers[0]
    uid = header.text("SOPClassUID")
    captured = uid == _CAPTURE or uid.startswith(f"{_CAPTURE}.")
    return code in ("no-pixels", "localizer") or (code == "not-a-slice" and (captured or "Rows" not in header))
