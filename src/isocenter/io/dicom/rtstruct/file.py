"""A structure set as a file: parsed under limits, its regions and the points of their contours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import FileFormatError, LabelError, SeriesError
from isocenter.io.dicom.header import NotDicomError, read_header
from isocenter.io.dicom.rtstruct.roi import Roi, RtstructHeader, code_of, colour_of, name_of, schema_of
from isocenter.io.dicom.seg.header import typed as typed_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

__all__ = ["Contour", "StructureSet", "typed"]

_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
_CONTOUR_DATA = 0x30060050
_MAX_BYTES = 1 << 28
typed = partial(typed_of, kind="structure set")
"""Elements are converted when they are first looked at, so damage may show anywhere."""
# ContourGeometricType without underscores: whether inner contours are said to cut out
_CLOSED = {"CLOSEDPLANAR": False, "CLOSEDPLANARXOR": True}


@dataclass(frozen=True)
class Contour:
    """One closed contour.

    Attributes:
        number: Its place in the ROI, from 1.
        cuts: It is said that it cuts out what it has in common with others (``CLOSEDPLANAR_XOR``).
        points_mm: ``(n, 3)`` LPS.
    """

    number: int
    cuts: bool
    points_mm: NDArray[np.float64]


@dataclass(frozen=True)
class StructureSet:
    """A parsed file; to be used under `typed`."""

    path: str
    dataset: Dataset

    @staticmethod
    def of(path: str | Path) -> StructureSet:
        """Parse a file.

        Raises:
            FileFormatError: It is missing, damaged or far too large.
            SeriesError: It is no structure set.
        """
        from pydicom import dcmread

        try:
            head = read_header(path)  # walks the whole file under limits, which pydicom does not know
        except NotDicomError:
            raise FileFormatError(f"{path}: not a DICOM file; give a DICOM structure set") from None
        if head.text("SOPClassUID") != _CLASS:
            shown = head.text("Modality", "unknown")
            raise SeriesError(f"{path}: Modality (0008,0060) is {shown}, not a structure set; choose another file")
        if head.size > _MAX_BYTES:
            raise FileFormatError(
                f"{path}: {head.size} bytes, a structure set has at most {_MAX_BYTES}; export fewer structures at once"
            )
        try:
            dataset = dcmread(path, force=True)
        except OSError as error:
            raise FileFormatError(f"{path}: cannot be read ({error.strerror}); check the path") from error
        return StructureSet(str(path), dataset)

    @cached_property
    def header(self) -> RtstructHeader:
        """Everything but the points."""
        rois = self._rois()
        votes: Counter[str] = Counter()
        for roi in rois:
            votes.update(dict.fromkeys(roi.series, roi.contours))
        series = votes.most_common(1)[0][0] if votes else next(iter(self._series), "")
        instances = tuple(dict.fromkeys(uid for roi in rois for uid in roi.instances))
        try:
            return RtstructHeader(self.path, series, instances, rois, schema_of(rois))
        except LabelError as error:
            raise LabelError(f"{self.path}: {error}") from None

    def contours(self, roi: Roi) -> Iterator[Contour]:
        """Closed contours of a region.

        Raises:
            FileFormatError: Points that are not at least three finite triples.
        """
        for number, item in enumerate(self._items[roi.number], start=1):
            cuts = _CLOSED.get(_geometric_type(item))
            if cuts is not None:
                yield Contour(number, cuts, _points(item, f"{self.path}: contour {number} of '{roi.name}'"))

    @cached_property
    def _items(self) -> Mapping[int, Sequence[Dataset]]:
        """Contours by ROINumber."""
        found: dict[int, list[Dataset]] = {int(i.ROINumber): [] for i in _sequence(self.dataset, "StructureSetROI")}
        if len(found) != len(_sequence(self.dataset, "StructureSetROI")):
            raise FileFormatError(f"{self.path}: two regions have one ROINumber (3006,0022); export it again")
        for item in _sequence(self.dataset, "ROIContour"):
            number = int(item.ReferencedROINumber)
            if number not in found:
                raise FileFormatError(
                    f"{self.path}: contours are of ROI {number}, which is not described; export it again"
                )
            found[number] += _sequence(item, "Contour")
        return found

    @cached_property
    def _series(self) -> Mapping[str, set[str]]:
        """Images that the file refers to, by series."""
        found: dict[str, set[str]] = {}
        for frame in _sequence(self.dataset, "ReferencedFrameOfReference"):
            for study in _sequence(frame, "RTReferencedStudy"):
                for one in _sequence(study, "RTReferencedSeries"):
                    uids = {str(i.ReferencedSOPInstanceUID) for i in _sequence(one, "ContourImage")}
                    found.setdefault(str(one.SeriesInstanceUID), set()).update(uids)
        return found

    def _rois(self) -> tuple[Roi, ...]:
        observed = {int(i.ReferencedROINumber): i for i in _sequence(self.dataset, "RTROIObservations")}
        colours = {int(i.ReferencedROINumber): colour_of(i) for i in _sequence(self.dataset, "ROIContour")}
        frames = [str(i.get("FrameOfReferenceUID", "")) for i in _sequence(self.dataset, "ReferencedFrameOfReference")]
        found: dict[str, Roi] = {}
        for item in _sequence(self.dataset, "StructureSetROI"):
            number, contours = int(item.ROINumber), self._items[int(item.ROINumber)]
            types = Counter(_geometric_type(c) for c in contours)
            uids = tuple(dict.fromkeys(uid for c in contours if _geometric_type(c) in _CLOSED for uid in _images(c)))
            about = observed.get(number)
            name = name_of(str(item.get("ROIName", "")), number, found)
            found[name] = Roi(
                name,
                number,
                kind="" if about is None else str(about.get("RTROIInterpretedType") or ""),
                colour=colours.get(number),
                code=None if about is None else code_of(about),
                frame=str(item.get("ReferencedFrameOfReferenceUID") or (frames[0] if len(frames) == 1 else "")),
                series=self._series_of(set(uids)),
                instances=uids,
                contours=sum(count for kind, count in types.items() if kind in _CLOSED),
                skipped={_shown(kind): count for kind, count in sorted(types.items()) if kind not in _CLOSED},
            )
        return tuple(found.values())

    def _series_of(self, instances: set[str]) -> tuple[str, ...]:
        named = tuple(uid for uid, images in self._series.items() if images & instances)
        return named or (tuple(self._series) if len(self._series) == 1 else ())


def _sequence(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    return dataset.get(f"{keyword}Sequence") or ()


def _geometric_type(item: Dataset) -> str:
    return str(item.get("ContourGeometricType") or "").upper().replace("_", "").strip()


def _shown(kind: str) -> str:
    """As the standard writes it."""
    return {"OPENPLANAR": "OPEN_PLANAR", "OPENNONPLANAR": "OPEN_NONPLANAR", "": "unknown"}.get(kind, kind)


def _images(item: Dataset) -> list[str]:
    return [str(i.ReferencedSOPInstanceUID) for i in _sequence(item, "ContourImage")]


def _points(item: Dataset, where: str) -> NDArray[np.float64]:
    # the raw bytes: pydicom would make an object of every number, which takes seconds in a large file
    element = item.get_item(_CONTOUR_DATA)
    raw: Any = b"" if element is None else element.value
    parts = raw.split(b"\\") if isinstance(raw, bytes) else list(raw or ())
    try:
        values = np.array([float(part) for part in parts])
    except ValueError:
        raise FileFormatError(
            f"{where}: ContourData (3006,0050) holds text that is no number; export it again"
        ) from None
    if not np.isfinite(values).all():
        raise FileFormatError(f"{where}: ContourData (3006,0050) is not finite; export it again")
    if len(values) % 3 or len(values) < 9:
        raise FileFormatError(
            f"{where}: ContourData (3006,0050) has {len(values)} numbers, not three for each of three or more points;"
            " export it again"
        )
    stated = item.get("NumberOfContourPoints")
    if stated is not None and int(stated) != len(values) // 3:
        raise FileFormatError(
            f"{where}: NumberOfContourPoints (3006,0046) is {int(stated)}, its data has {len(values) // 3}: truncated"
            " or damaged; export it again"
        )
    return values.reshape(-1, 3)
