"""Which series a folder holds."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from isocenter.errors import FileFormatError, SeriesError
from isocenter.io.archives import unpacked
from isocenter.io.dicom.aside import Aside, set_aside, without_copies
from isocenter.io.dicom.frames import frames_of
from isocenter.io.dicom.grouping import Group, split
from isocenter.io.dicom.header import Header, NotDicomError, read_header
from isocenter.io.dicom.parsing import DamagedHeadError
from isocenter.io.dicom.stack import Stack
from isocenter.io.files import files_below

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Aside", "Scan", "Series", "find_series", "scan_folder"]

_LOG = logging.getLogger(__name__)
_TELL_EVERY = 50  # files
_ATTRIBUTES = {
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
    "kernel": "ConvolutionKernel",
    "slice_thickness_mm": "SliceThickness",
    "tube_voltage_kv": "KVP",
    "field_strength_t": "MagneticFieldStrength",
    "body_part": "BodyPartExamined",
    "protocol": "ProtocolName",
    "sequence": "SequenceName",
    "patient_position": "PatientPosition",
    "contrast": "ContrastBolusAgent",
}


@dataclass(frozen=True)
class Series:
    """The files of one series: images of any kind, a segmentation, a structure set.

    Attributes:
        uid: Series Instance UID; ``""`` where it was blanked: such files are told apart by their folder.
        study_uid: Study Instance UID.
        headers: Head of every file.
        damaged: Files that are DICOM, cannot be parsed, and may be part of it: those that name it before the damage,
            and those in the same folders that name no other series.
    """

    uid: str
    study_uid: str
    headers: tuple[Header, ...] = field(repr=False)
    damaged: tuple[str, ...] = ()

    @property
    def modality(self) -> str:
        """``"CT"``, ``"MR"``, ``"PT"``, ``"SEG"``, ``"RTSTRUCT"`` ..."""
        return self.headers[0].text("Modality")

    @property
    def description(self) -> str:
        """Series Description as the scanner wrote it."""
        return self.headers[0].text("SeriesDescription")

    @property
    def patient(self) -> str:
        """Patient ID, the key that splits go by; the study where it is empty. Pseudonymise before sharing."""
        return self.headers[0].text("PatientID") or self.study_uid

    @cached_property
    def attributes(self) -> dict[str, str]:
        """Scanner and protocol as strings, for grouping; nothing that identifies a person."""
        values = {name: self.headers[0].text(keyword) for name, keyword in _ATTRIBUTES.items()}
        return {name: value for name, value in values.items() if value}

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of its images, stack by stack, in slice order where slices have positions."""
        return tuple(dict.fromkeys(h.file for stack in self.stacks() for h in stack.headers))

    @property
    def instance_uids(self) -> tuple[str, ...]:
        """SOP Instance UIDs in the order of `files`."""
        return tuple(dict.fromkeys(h.text("SOPInstanceUID") for stack in self.stacks() for h in stack.headers))

    @property
    def source(self) -> str:
        """The folder that holds it, or the file where there is one."""
        files = [h.file for h in self.headers]
        return files[0] if len(files) == 1 else os.path.commonpath([os.path.dirname(f) for f in files])

    def stack(self) -> Stack:
        """The only stack. Whether its slices make a volume: `Stack.problems`.

        Raises:
            SeriesError: The series holds several; the message names them.
        """
        stacks = self.stacks()
        if len(stacks) == 1:
            return stacks[0]
        shown = "; ".join(f"{s.label} ({len(s)} images)" for s in stacks[:4])
        more = " ..." if len(stacks) > 4 else ""
        raise SeriesError(
            f"series {self.uid or self.source}: holds {len(stacks)} stacks: {shown}{more}; choose one of"
            " Series.stacks(), or convert them to files of their own"
        )

    def stacks(self) -> tuple[Stack, ...]:
        """Its images as stacks of slices: parted by orientation, size, kind, echo, b-value, time, phase ..."""
        return self._sorted[0]

    @property
    def aside(self) -> tuple[Aside, ...]:
        """Images that belong to no stack (scout views, captures, identical copies), each with the reason."""
        return self._sorted[1]

    @cached_property
    def _sorted(self) -> tuple[tuple[Stack, ...], tuple[Aside, ...]]:
        kept, aside = set_aside(self.headers)
        if not kept:
            return (Stack.of(self.uid, self.headers, self.damaged),), ()  # it says why it is none
        try:
            frames = [frame for header in kept for frame in frames_of(header)]
        except SeriesError as error:  # any of its stacks may lack what this file holds
            return (Stack(self.uid, tuple(kept), self.damaged, fault=str(error)),), tuple(aside)
        frames, copies = without_copies(frames, _identity)
        stacks = []
        for group in split(frames):
            group, more = _without_doubles(group)
            copies += more
            stacks.append(Stack.of(self.uid, group.headers, self.damaged, keys=dict(group.keys)))
        return tuple(stacks), (*aside, *copies)


def _identity(header: Header) -> tuple[object, ...]:
    uid = header.text("SOPInstanceUID")
    return (uid, header.frame, header.tile) if uid else ()


def _without_doubles(group: Group) -> tuple[Group, list[Aside]]:
    """Without images that another one repeats pixel by pixel at the same place under another UID."""
    kept, copies = without_copies(group.headers, lambda h: h.tags.get("ImagePositionPatient"))
    return Group(tuple(kept), group.keys), copies


@dataclass(frozen=True)
class Scan:
    """What a folder holds.

    Attributes:
        series: By series number, then UID.
        ignored: Files that are not DICOM.
        damaged: Files that say they are DICOM and cannot be parsed, with the reason.
    """

    series: tuple[Series, ...]
    ignored: tuple[str, ...]
    damaged: dict[str, str]


def find_series(path: str | Path) -> list[Series]:
    """Every DICOM series in a folder and its subfolders, from headers alone.

    A disc is read as a folder: what is on it counts, not what its DICOMDIR says. An archive is unpacked into a folder
    that lasts as long as the process; `isocenter.io.archives.opened` lets go of it earlier.

    Files that are not DICOM are ignored and counted in the log; `scan_folder` names them.

    Raises:
        SeriesError: The folder does not exist.

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> (series,) = find_series(get_testdata_file("CT_small.dcm"))
        >>> series.modality, len(series.files), series.attributes["manufacturer"]
        ('CT', 1, 'GE MEDICAL SYSTEMS')
        >>> ct = series.stack().volume()
        >>> ct.unit, ct.grid.shape, ct.grid.orientation
        ('HU', (1, 128, 128), 'SPL')
    """
    return list(scan_folder(path).series)


def scan_folder(path: str | Path, *, progress: Callable[[int, int], None] | None = None) -> Scan:
    """Like `find_series`, with the files that were left out.

    Args:
        path: A folder, or one file.
        progress: Called with how many files were looked at, and of how many.

    Raises:
        SeriesError: The folder does not exist.
    """
    root = Path(path)
    if not root.exists():
        raise SeriesError(f"{path}: does not exist; give a folder with DICOM files")
    if root.name.upper() == "DICOMDIR":
        root = root.parent  # the disc that it is the directory of
    root = unpacked(root)
    groups: dict[tuple[str, ...], list[Header]] = defaultdict(list)
    ignored: list[str] = []
    damaged: dict[str, str] = {}
    named: dict[str, str] = {}
    files = list(files_below(root))
    for count, file in enumerate(files, start=1):
        if progress is not None and (count % _TELL_EVERY == 0 or count == len(files)):
            progress(count, len(files))
        try:
            header = read_header(file)
        except NotDicomError:
            ignored.append(str(file))
        except FileFormatError as error:
            damaged[str(file)] = str(error)
            named[str(file)] = error.series if isinstance(error, DamagedHeadError) else ""
        else:
            groups[_key(header)].append(header)
    if ignored or damaged:
        _LOG.info("%s: %d files are not DICOM, %d are damaged", path, len(ignored), len(damaged))
    known = {header.text("SeriesInstanceUID") for headers in groups.values() for header in headers[:1]} - {""}
    # a UID that no other file has may itself be damaged
    blamed = {file: uid if uid in known else "" for file, uid in named.items()}
    series = [_series(headers, blamed) for headers in groups.values()]
    series.sort(key=lambda s: (s.study_uid, _series_number(s), s.uid))
    return Scan(tuple(series), tuple(ignored), damaged)


def _key(header: Header) -> tuple[str, ...]:
    """What the files of one series share; files whose UIDs were blanked are told apart by folder, kind and number."""
    uid = header.text("SeriesInstanceUID")
    if uid:
        return header.text("StudyInstanceUID"), uid
    kind = (header.text(k) for k in ("Modality", "SeriesNumber", "SeriesDescription", "FrameOfReferenceUID"))
    return ("", os.path.dirname(header.file), *kind)


def _series(headers: list[Header], damaged: Mapping[str, str]) -> Series:
    study, uid = headers[0].text("StudyInstanceUID"), headers[0].text("SeriesInstanceUID")
    folders = {os.path.dirname(h.file) for h in headers}
    suspects = (f for f, named in damaged.items() if (named == uid if named else os.path.dirname(f) in folders))
    return Series(uid, study, tuple(headers), tuple(suspects))


def _series_number(series: Series) -> float:
    try:
        return series.headers[0].number("SeriesNumber", 0.0)
    except SeriesError:
        return 0.0
