"""What DICOM files are, from headers alone: patients, studies, series and their stacks, with what is wrong marked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isocenter.errors import IsocenterError
from isocenter.workflow.progress import told

if TYPE_CHECKING:
    from isocenter.io.dicom import Scan, Series, Stack
    from isocenter.workflow.progress import Progress

__all__ = ["Defect", "DicomTree", "SeriesSummary", "StackSummary", "dicom_tree", "is_dicom", "look_into", "pseudonym"]

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_ON_IMAGES = {"SEG", "RTSTRUCT"}


def pseudonym(patient: str) -> str:
    """A name for a patient that does not give away the Patient ID, the same wherever the ID is.

    Example:
        >>> pseudonym("4711")
        'pde650d61f5bd'
    """
    return "p" + hashlib.sha256(patient.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Defect:
    """Why a stack is not one regular volume: a stable code, and one line that says where and what to do."""

    code: str
    text: str


@dataclass(frozen=True)
class StackSummary:
    """Images of one series that belong together.

    Attributes:
        label: What tells it from the other stacks of its series; ``""`` where it is the only one.
        keys: The same, name by name.
        slices: How many.
        rows: Of a slice.
        columns: Of a slice.
        spacing_mm: Of slices, rows and columns; the first is ``None`` where it varies, all where they are not stated.
        orientation: See `isocenter.Grid.orientation`; ``""`` where it is not one volume.
        unit: What a value means.
        problems: What forbids one regular volume; empty where nothing does.
        flags: What is unusual and no hindrance: a tilted gantry, a radiograph without a place.
    """

    label: str
    keys: Mapping[str, str]
    slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float | None, float | None, float | None] = (None, None, None)
    orientation: str = ""
    unit: str = ""
    problems: tuple[Defect, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeriesSummary:
    """One series.

    Attributes:
        patient: Pseudonym.
        study: ``study1``, ``study2`` ... of the patient.
        number: Series Number, ``""`` where it has none.
        modality: DICOM modality.
        uid: Series Instance UID.
        files: How many.
        stacks: Of images; empty for what is none (segmentations, contours, reports ...).
        aside: Files that belong to no stack, with the reason.
    """

    patient: str
    study: str
    number: str
    modality: str
    uid: str
    files: int
    stacks: tuple[StackSummary, ...] = ()
    aside: Mapping[str, str] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """It has no stack with a problem."""
        return not any(stack.problems for stack in self.stacks)


@dataclass(frozen=True)
class DicomTree:
    """What a folder holds.

    Attributes:
        series: Patient after patient, study after study.
        ignored: Number of files that are not DICOM.
        damaged: Files that cannot be parsed, with the reason.
    """

    series: tuple[SeriesSummary, ...]
    ignored: int = 0
    damaged: Mapping[str, str] = field(default_factory=dict)


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, or an archive that may hold some."""
    from isocenter.errors import FileFormatError
    from isocenter.io.dicom.header import NotDicomError, read_header

    if path.name.lower().endswith(_ARCHIVES):
        return True
    try:
        read_header(path)
    except NotDicomError:
        return False
    except FileFormatError:
        return True
    return True


def look_into(path: Path, progress: Progress | None = None) -> DicomTree:
    """The tree of a folder, a file or an archive.

    Raises:
        FileFormatError: An archive that is damaged.
    """
    from isocenter.io.archives import opened
    from isocenter.io.dicom import scan_folder

    with opened(path) as folder:
        tree = dicom_tree(scan_folder(folder, progress=told(progress, "reading headers")))
    return tree if Path(folder) == path else _renamed(tree, str(folder), str(path))


def dicom_tree(scan: Scan) -> DicomTree:
    """Every series of a scan."""
    studies: dict[str, dict[str, str]] = {}
    found = []
    for series in scan.series:
        own = studies.setdefault(series.patient, {})
        study = own.setdefault(series.study_uid, f"study{len(own) + 1}")
        found.append(_series(series, study))
    found.sort(key=lambda s: (s.patient, len(s.study), s.study))
    return DicomTree(tuple(found), len(scan.ignored), dict(scan.damaged))


def _renamed(tree: DicomTree, old: str, new: str) -> DicomTree:
    """With files named by where they are for the user, not by where an archive was unpacked."""

    def series(one: SeriesSummary) -> SeriesSummary:
        stacks = tuple(
            replace(s, problems=tuple(Defect(d.code, d.text.replace(old, new)) for d in s.problems)) for s in one.stacks
        )
        return replace(one, stacks=stacks, aside=texts(one.aside))

    def texts(found: Mapping[str, str]) -> dict[str, str]:
        return {file.replace(old, new): reason.replace(old, new) for file, reason in found.items()}

    return DicomTree(tuple(series(one) for one in tree.series), tree.ignored, texts(tree.damaged))


def _series(series: Series, study: str) -> SeriesSummary:
    image = series.modality not in _ON_IMAGES and any("Rows" in h for h in series.headers)
    return SeriesSummary(
        patient=pseudonym(series.patient),
        study=study,
        number=series.headers[0].text("SeriesNumber"),
        modality=series.modality,
        uid=series.uid,
        files=len(series.headers),
        stacks=tuple(_stack(stack) for stack in series.stacks()) if image else (),
        aside={a.file: a.reason for a in series.aside} if image else {},
    )


def _stack(stack: Stack) -> StackSummary:
    from isocenter.io.dicom.values import value_unit

    problems = tuple(Defect(p.code, p.text) for p in stack.problems())
    header = stack.headers[0]
    label, keys = stack.label, dict(stack.keys)
    rows, columns = (_whole(header.tags.get(k)) for k in ("Rows", "Columns"))
    bare = StackSummary(label, keys, len(stack), rows, columns, _spacing(stack), problems=problems)
    if problems:
        return bare
    grid = stack.grid()
    return StackSummary(
        label, keys, *grid.shape, _rounded(grid.spacing_mm), grid.orientation, value_unit(header), (), stack.flags()
    )


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _spacing(stack: Stack) -> tuple[float | None, float | None, float | None]:
    """As far as slices that are no regular volume have one."""
    try:
        planes = stack.planes
        rows, columns = planes.spacing[0]
        gaps = np.diff(planes.depth)
    except (IsocenterError, ValueError, IndexError):
        return (None, None, None)
    even = gaps.size and float(np.ptp(gaps)) < 0.01 and float(gaps.min()) > 0
    return (round(float(gaps.mean()), 4) if even else None, round(float(rows), 4), round(float(columns), 4))


def _rounded(spacing: tuple[float, float, float]) -> tuple[float, float, float]:
    z, y, x = (round(step, 4) for step in spacing)
    return z, y, x
