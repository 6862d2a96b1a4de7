"""A case: what is known of one examination, with images that are read on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from isocenter.errors import DatasetError

if TYPE_CHECKING:
    from isocenter.records.annotations import Annotation
    from isocenter.volume import Grid, Volume

__all__ = ["Case", "ImageRef", "Region"]

Region = tuple[tuple[int, int, int], tuple[int, int, int]]
"""Start (in) and stop (out) voxel index of a part of an image, at the level asked for."""

A = TypeVar("A")


def _nothing() -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class ImageRef:
    """An image that has not been read yet.

    Attributes:
        name: Role of the image in the case, e.g. ``"ct"``, ``"pet"``, ``"mr_t1"``.
        source: File or folder it comes from, for messages.
        open: Reads it: ``open(region, level)``; region ``None`` is all of it, level 0 the full resolution. Whole-slide
            images read parts; small formats may read all and crop.
        grid: Its geometry at level 0, from the header alone.
        modality: DICOM modality (``"CT"``, ``"MR"``, ``"PT"`` ...) where known.
        uids: DICOM identifiers needed to refer to it: ``study``, ``series``, and ``instances`` (comma-joined); empty
            for other formats.
        files: Its files, in slice order for a DICOM series.
        notes: What was done to make one volume of its files, or is left open by them, in sentences for a person; from
            headers alone. They go into the flags of a prediction.
    """

    name: str
    source: str
    open: Callable[[Region | None, int], Volume]
    grid: Callable[[], Grid]
    modality: str | None = None
    uids: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    notes: Callable[[], tuple[str, ...]] = _nothing

    def read(self, region: Region | None = None, level: int = 0) -> Volume:
        """Voxels of ``region`` (all, where ``None``) at resolution ``level``.

        Raises:
            IsocenterError: The file is missing, damaged, or has values that cannot be used.
        """
        return self.open(region, level)


@dataclass(frozen=True)
class Case:
    """One examination of one patient.

    Attributes:
        id: Unique in its dataset.
        patient: Pseudonym of the patient; splits never part the cases of one.
        images: By name; an image that this case lacks is absent from the mapping.
        annotations: Of any kind and any source.
        attributes: Scanner, site, age ...: strings, for grouping and reports.
        priors: Ids of earlier cases of the same patient.

    Example:
        >>> case = Case("scan-1", "patient-1", {}, attributes={"vendor": "A"})
        >>> case.image("ct")
        Traceback (most recent call last):
        isocenter.errors.DatasetError: case scan-1: image 'ct' is missing (it has: none)
    """

    id: str
    patient: str
    images: Mapping[str, ImageRef]
    annotations: tuple[Annotation, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    priors: tuple[str, ...] = ()

    def find(self, kind: type[A], *, name: str = "main", image: str | None = None) -> A | None:
        """First annotation of a kind and name, preferring the one on ``image``; ``None`` where there is none.

        Example:
            >>> from isocenter.records import Scalar
            >>> case = Case("a", "p", {}, (Scalar(value=1.0, image="mr"), Scalar(value=2.0, image="ct")))
            >>> case.find(Scalar).value, case.find(Scalar, image="ct").value, case.find(Scalar, name="second")
            (1.0, 2.0, None)
        """
        found = [a for a in self.annotations if isinstance(a, kind) and a.name == name]
        exact = [a for a in found if a.image == image]
        return next(iter(exact or found), None)

    def image(self, name: str) -> ImageRef:
        """The image called ``name``.

        Raises:
            DatasetError: The case lacks it.
        """
        if name not in self.images:
            have = ", ".join(self.images) or "none"
            raise DatasetError(f"case {self.id}: image {name!r} is missing (it has: {have})")
        return self.images[name]
