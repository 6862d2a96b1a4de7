"""DICOM segmentations as labels of the images they were drawn on, under one schema for all cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from isocenter.data.problems import CaseProblem
from isocenter.errors import IsocenterError, LabelError
from isocenter.records import Annotation, Case, ImageRef, LabelMap, LabelSchema, Masks, Structure
from isocenter.volume import Grid, Volume

if TYPE_CHECKING:
    from isocenter.io.dicom import SegHeader, Series

__all__ = ["SegLabels", "SegMasks", "Segmented", "annotate", "segmentations"]


@dataclass(frozen=True)
class Segmented:
    """The segmentations of one series."""

    series: str
    files: tuple[str, ...]
    schema: LabelSchema


@dataclass(frozen=True)
class SegLabels:
    """Reads segmentations as one label map under ``schema``, on the grid of their image."""

    files: tuple[str, ...]
    schema: LabelSchema
    target: Callable[[], Grid]

    def __call__(self) -> Volume:
        """The label map.

        Raises:
            LabelError: Segments overlap.
        """
        from isocenter.io.dicom import read_seg_labels

        grid = self.target()
        out = np.zeros((1, *grid.shape), np.uint8 if len(self.schema) < 256 else np.uint16)
        for file in self.files:
            volume, own, _ = read_seg_labels(file, grid=grid)
            table = np.zeros(1 + max(own.values, default=0), out.dtype)
            for structure in own.structures:
                table[structure.values[0]] = self.schema[structure.name].values[0]
            values = table[volume.array]
            if (out[values > 0] > 0).any():
                raise LabelError(f"{file}: its segments overlap those of another segmentation of the same series")
            out += values
        return Volume(out, grid, "label")


@dataclass(frozen=True)
class SegMasks:
    """Reads segmentations as masks under ``schema``, on the grid of their image."""

    files: tuple[str, ...]
    schema: LabelSchema
    target: Callable[[], Grid]

    def __call__(self) -> Volume:
        """Masks ``(structure, slice, row, column)``."""
        from isocenter.io.dicom import read_seg

        grid = self.target()
        out = np.zeros((len(self.schema), *grid.shape), np.uint8)
        for file in self.files:
            volume, own, _ = read_seg(file, grid=grid)
            for name, mask in zip(own.names, volume.array, strict=True):
                out[self.schema.names.index(name)] |= mask
        return Volume(out, grid, "label")


def segmentations(
    case: str, series: Sequence[Series], images: Sequence[Series], problems: list[CaseProblem]
) -> list[Segmented]:
    """What segmentation series say of each image series; those that fit none become problems."""
    from isocenter.io.dicom import seg_header

    known = {one.uid: set(one.instance_uids) for one in images}
    found: dict[str, list[SegHeader]] = {}
    for file in (header.file for one in series for header in one.headers):
        try:
            head = seg_header(file)
            _check_source(head, known)
            doubled = {n for other in found.get(head.series, ()) for n in other.schema.names} & set(head.schema.names)
            if doubled:
                raise LabelError(f"{file}: '{min(doubled)}' is segmented twice on one series; keep one of the files")
            found.setdefault(head.series, []).append(head)
        except IsocenterError as error:
            problems.append(CaseProblem.of(case, error))
    return [
        Segmented(
            uid,
            tuple(h.file for h in heads),
            _united([h.schema for h in heads], exclusive=len(heads) == 1 and heads[0].schema.exclusive),
        )
        for uid, heads in found.items()
    ]


def _check_source(head: SegHeader, known: Mapping[str, set[str]]) -> None:
    if head.series not in known:
        raise LabelError(f"{head.file}: the series it was drawn on is not among the usable images of its study")
    missing = set(head.instances) - known[head.series]
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
    cases: Sequence[Case], segmented: Mapping[str, Sequence[Segmented]]
) -> tuple[list[Case], LabelSchema | None]:
    """Cases with their label maps (masks, where segments overlap in any case), and the schema of all."""
    refs = {one: ref for case in cases for one, ref in _images(case, segmented[case.id])}
    if not refs:
        return list(cases), None
    exclusive = all(_is_exclusive(one, ref) for one, ref in refs.items())
    schema = _united([one.schema for one in refs], exclusive=exclusive)
    out = []
    for case in cases:
        annotations = tuple(_annotation(one, ref, schema) for one, ref in _images(case, segmented[case.id]))
        out.append(replace(case, annotations=annotations))
    return out, schema


def _images(case: Case, segmented: Sequence[Segmented]) -> list[tuple[Segmented, ImageRef]]:
    images = {ref.uids["series"]: ref for ref in case.images.values()}
    return [(one, images[one.series]) for one in segmented]


def _annotation(one: Segmented, ref: ImageRef, schema: LabelSchema) -> Annotation:
    source = ", ".join(one.files)
    if schema.exclusive:
        return LabelMap(image=ref.name, source=source, schema=schema, read=SegLabels(one.files, schema, ref.grid))
    return Masks(image=ref.name, source=source, schema=schema, read=SegMasks(one.files, schema, ref.grid))


def _is_exclusive(one: Segmented, ref: ImageRef) -> bool:
    """Whether no voxel has two segments; looked up in the voxels where the headers do not say so."""
    if one.schema.exclusive:
        return True
    try:
        SegLabels(one.files, one.schema, ref.grid)()
    except LabelError:
        return False
    except IsocenterError:
        pass  # damaged in another way: said when the labels are read
    return True
