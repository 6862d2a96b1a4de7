"""DICOM segmentations and contours as labels of the images they were drawn on, under one schema for all cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from isocenter.data.layouts.contours import contoured
from isocenter.data.layouts.drawn import Drawn, DrawnLabels, DrawnMasks
from isocenter.data.problems import CaseProblem
from isocenter.errors import IsocenterError, LabelError
from isocenter.records import Annotation, Case, ImageRef, LabelMap, LabelSchema, Masks, Structure

if TYPE_CHECKING:
    from isocenter.io.dicom import SegHeader, Series

__all__ = ["DRAWN", "Segmented", "annotate", "segmentations"]

DRAWN = ("SEG", "RTSTRUCT")
"""Modalities of what is drawn on images, in the order in which they are asked for a structure."""


@dataclass(frozen=True)
class Segmented:
    """What is drawn on one series.

    Attributes:
        series: Its UID.
        files: Where from.
        schema: All structures.
        unread: Structures that were drawn on it and cannot be read.
    """

    series: str
    files: tuple[Drawn, ...]
    schema: LabelSchema
    unread: tuple[str, ...] = ()


def segmentations(
    case: str, series: Sequence[Series], images: Sequence[Series], problems: list[CaseProblem]
) -> list[Segmented]:
    """What segmentations and structure sets say of each image series; what fits none becomes a problem."""
    known = {one.uid: one for one in images}
    found: dict[str, list[Drawn]] = {}
    unread: dict[str, list[str]] = {}
    for rank, file in sorted((DRAWN.index(one.modality), header.file) for one in series for header in one.headers):
        taken = {uid: {n for drawn in files for n in drawn.schema.names} for uid, files in found.items()}
        try:
            if DRAWN[rank] == "SEG":
                uid, drawn = _segmentation(file, known, taken)
                found.setdefault(uid, []).append(drawn)
                continue
            for uid, (drawn, refused) in contoured(case, file, known, taken, problems).items():
                if drawn.schema.structures:
                    found.setdefault(uid, []).append(drawn)
                unread.setdefault(uid, []).extend(refused)
        except IsocenterError as error:
            problems.append(CaseProblem.of(case, error))
    return [
        Segmented(
            uid,
            tuple(files),
            _united([d.schema for d in files], exclusive=len(files) == 1 and files[0].schema.exclusive),
            tuple(unread.get(uid, ())),
        )
        for uid, files in found.items()
    ]


def _segmentation(file: str, images: Mapping[str, Series], taken: Mapping[str, set[str]]) -> tuple[str, Drawn]:
    from isocenter.io.dicom import seg_header

    head = seg_header(file)
    if head.kind == "FRACTIONAL":
        raise LabelError(f"{file}: says probabilities, which are no labels; threshold it and export it as BINARY")
    _check_source(head, images)
    doubled = taken.get(head.series, set()) & set(head.schema.names)
    if doubled:
        raise LabelError(f"{file}: '{min(doubled)}' is segmented twice on one series; keep one of the files")
    return head.series, Drawn(file, head.schema)


def _check_source(head: SegHeader, images: Mapping[str, Series]) -> None:
    if head.series not in images:
        raise LabelError(f"{head.file}: the series it was drawn on is not among the usable images of its study")
    missing = set(head.instances) - set(images[head.series].instance_uids)
    if missing:
        raise LabelError(f"{head.file}: {len(missing)} of the images it was drawn on are not in the series")


def _united(schemas: Sequence[LabelSchema], *, exclusive: bool) -> LabelSchema:
    """One schema of all structures by name, in the order of their first appearance, values 1, 2, 3 ..."""
    first: dict[str, Structure] = {}
    for structure in (s for schema in schemas for s in schema.structures):
        first.setdefault(structure.name, structure)
    numbered = LabelSchema.of({name: k for k, name in enumerate(first, start=1)})
    structures = tuple(replace(s, code=first[s.name].code, colour=first[s.name].colour) for s in numbered.structures)
    return LabelSchema(structures, exclusive)


def annotate(
    cases: Sequence[Case], segmented: Mapping[str, Sequence[Segmented]], problems: list[CaseProblem]
) -> tuple[list[Case], LabelSchema | None]:
    """Cases with their label maps (masks, where structures overlap in any case), and the schema of all.

    A case in which a structure of the schema could not be read gets none: they would say that it is absent.
    """
    refs = {one: ref for case in cases for one, ref in _images(case, segmented[case.id])}
    if not refs:
        return list(cases), None
    exclusive = all(_is_exclusive(one, ref) for one, ref in refs.items())
    schema = _united([one.schema for one in refs], exclusive=exclusive)
    out = []
    for case in cases:
        annotations: list[Annotation] = []
        for one, ref in _images(case, segmented[case.id]):
            unread = [name for name in one.unread if name in schema.names]
            if unread:
                text = f"other cases have '{unread[0]}', which cannot be read here: image {ref.name!r} has no labels"
                problems.append(CaseProblem(case.id, text, "LabelError", kept=True))
            else:
                annotations.append(_annotation(one, ref, schema))
        out.append(replace(case, annotations=tuple(annotations)))
    return out, schema


def _images(case: Case, segmented: Sequence[Segmented]) -> list[tuple[Segmented, ImageRef]]:
    images = {ref.uids["series"]: ref for ref in case.images.values()}
    return [(one, images[one.series]) for one in segmented]


def _annotation(one: Segmented, ref: ImageRef, schema: LabelSchema) -> Annotation:
    source = ", ".join(drawn.file for drawn in one.files)
    if schema.exclusive:
        return LabelMap(image=ref.name, source=source, schema=schema, read=DrawnLabels(one.files, schema, ref.grid))
    return Masks(image=ref.name, source=source, schema=schema, read=DrawnMasks(one.files, schema, ref.grid))


def _is_exclusive(one: Segmented, ref: ImageRef) -> bool:
    """Whether no voxel has two structures; looked up in the voxels where the headers do not say so."""
    if one.schema.exclusive:
        return True
    try:
        DrawnLabels(one.files, one.schema, ref.grid)()
    except LabelError:
        return False
    except IsocenterError:
        pass  # damaged in another way: said when the labels are read
    return True
