"""The regions of interest of a structure set as records."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from isocenter.records import Code, LabelSchema, Structure

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Roi", "RtstructHeader", "code_of", "colour_of", "name_of", "schema_of"]


@dataclass(frozen=True)
class Roi:
    """One region of interest of a structure set.

    Attributes:
        name: ROIName with characters that a structure name may not have replaced by ``_``; unique in the file.
        number: ROINumber.
        kind: RTROIInterpretedType, e.g. ``"GTV"``, ``"ORGAN"``; ``""`` where the file does not say.
        colour: Red, green, blue, where the file says it.
        code: Coded type, where the file says it.
        frame: Frame of reference of its points.
        series: Series Instance UIDs of the images that its contours name; the series of the file where they name none.
        instances: SOP Instance UIDs of those images.
        contours: How many closed contours it has.
        skipped: Kinds of contour that enclose nothing (``"POINT"``, ``"OPEN_PLANAR"`` ...) with their number: left out.
    """

    name: str
    number: int
    kind: str
    colour: tuple[int, int, int] | None
    code: Code | None
    frame: str
    series: tuple[str, ...]
    instances: tuple[str, ...]
    contours: int
    skipped: Mapping[str, int]

    @property
    def encloses(self) -> bool:
        """It has closed contours, or none at all: looked for and not found."""
        return self.contours > 0 or not self.skipped


@dataclass(frozen=True)
class RtstructHeader:
    """What a structure set says without its points.

    Attributes:
        file: Its path.
        series: Series Instance UID of the images that most contours lie on; ``""`` where it names none.
        instances: SOP Instance UIDs of the images that contours lie on.
        rois: Everything in it.
        schema: Those that can be masks, value = place in the file from 1. Not exclusive: nothing says that they do not
            overlap.
    """

    file: str
    series: str
    instances: tuple[str, ...]
    rois: tuple[Roi, ...]
    schema: LabelSchema

    def chosen(self, names: Collection[str]) -> LabelSchema:
        """Schema of some of its structures."""
        return schema_of(self.rois, names)


def schema_of(rois: Sequence[Roi], chosen: Collection[str] | None = None) -> LabelSchema:
    """Schema of regions that can be masks, all or those ``chosen``.

    Raises:
        LabelError: There are too many.
    """
    regions = {roi.name: k for k, roi in enumerate(rois, start=1) if roi.encloses}
    told = {roi.name: roi for roi in rois}
    plain = LabelSchema.of(
        {name: k for name, k in regions.items() if chosen is None or name in chosen}, exclusive=False
    )
    coded: tuple[Structure, ...] = tuple(
        replace(s, code=told[s.name].code, colour=told[s.name].colour) for s in plain.structures
    )
    return replace(plain, structures=coded)


def name_of(label: str, number: int, taken: Container[str]) -> str:
    """Name of a structure for ``label``, unlike those ``taken``."""
    name = re.sub(r"[^\w-]+", "_", label).strip("_") or f"roi_{number}"
    if name.lower() in ("background", "ignore"):  # words of label maps, not of contours
        name = f"{name}_{number}"
    while name in taken:
        name = f"{name}_{number}"
    return name


def code_of(item: Dataset) -> Code | None:
    """Coded type that an observation of a region states."""
    for code in item.get("RTROIIdentificationCodeSequence") or ():
        value = code.get("CodeValue") or code.get("LongCodeValue") or ""
        return Code(str(value), str(code.get("CodingSchemeDesignator", "")), str(code.get("CodeMeaning", "")))
    return None


def colour_of(item: Dataset) -> tuple[int, int, int] | None:
    """Colour that the contours of a region state."""
    stored = item.get("ROIDisplayColor")
    if stored is None or isinstance(stored, int | str) or len(stored) != 3:
        return None
    red, green, blue = (min(max(int(v), 0), 255) for v in stored)
    return red, green, blue
