"""Geometry, values and volumes of many cases in a few numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from isocenter.data import CaseDataset, CaseReport
    from isocenter.records import Structure
    from isocenter.volume import Grid

__all__ = [
    "SCANNER",
    "GeometrySummary",
    "ImageSummary",
    "Spread",
    "StructureSummary",
    "image_summary",
    "scanners",
    "structure_summaries",
]

SCANNER = ("manufacturer", "vendor", "scanner", "model")
"""Endings of attributes that name a scanner."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class GeometrySummary:
    """Shape, spacing in mm ``(slice, row, column)``, and orientation as `isocenter.Grid.orientation`."""

    shape: tuple[int, int, int]
    spacing_mm: Triple
    orientation: str

    @staticmethod
    def of(grid: Grid) -> GeometrySummary:
        """Of one grid."""
        z, y, x = (round(s, 4) for s in grid.spacing_mm)
        return GeometrySummary(grid.shape, (z, y, x), grid.orientation)


@dataclass(frozen=True)
class Spread:
    """Lowest, median and highest value over cases."""

    low: float
    median: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return Spread(float(min(values)), round(float(np.median(values)), 4), float(max(values)))


@dataclass(frozen=True)
class ImageSummary:
    """One image over all cases that have it.

    Attributes:
        name: Role of the image.
        modality: DICOM modality, where known.
        cases: How many have it.
        shape: Of slices, rows, columns.
        spacing_mm: Likewise.
        orientations: Number of cases by orientation.
        values: Lowest and highest value of all; only where the voxels were read.
    """

    name: str
    modality: str | None
    cases: int
    shape: tuple[Spread, Spread, Spread]
    spacing_mm: tuple[Spread, Spread, Spread]
    orientations: Mapping[str, int] = field(default_factory=dict)
    values: tuple[float, float] | None = None


@dataclass(frozen=True)
class StructureSummary:
    """One structure over all cases.

    Attributes:
        name: As in the schema.
        values: Label values.
        cases: How many have at least one voxel of it; ``None`` where the voxels were not read.
        volume_ml: Over those cases.
    """

    name: str
    values: tuple[int, ...]
    cases: int | None = None
    volume_ml: Spread | None = None

    @staticmethod
    def of(structure: Structure, volumes_ml: Sequence[float] | None) -> StructureSummary:
        """From its volume in each case; ``None`` where the voxels were not read."""
        if volumes_ml is None:
            return StructureSummary(structure.name, structure.values)
        there = [v for v in volumes_ml if v > 0]
        return StructureSummary(structure.name, structure.values, len(there), Spread.of(there) if there else None)


def image_summary(dataset: CaseDataset, name: str, reports: Mapping[str, CaseReport]) -> ImageSummary:
    """Geometry of one image over the cases that have it, and its values where ``reports`` know them."""
    grids = [GeometrySummary.of(case.images[name].grid()) for case in dataset if name in case.images]
    ranges = [r.ranges[name] for r in reports.values() if name in r.ranges]
    return ImageSummary(
        name=name,
        modality=dataset.modalities.get(name),
        cases=len(grids),
        shape=_spreads([g.shape for g in grids]),
        spacing_mm=_spreads([g.spacing_mm for g in grids]),
        orientations=dict(Counter(g.orientation for g in grids).most_common()),
        values=(min(r[0] for r in ranges), max(r[1] for r in ranges)) if ranges else None,
    )


def _spreads(triples: Sequence[Triple]) -> tuple[Spread, Spread, Spread]:
    z, y, x = (Spread.of(column) for column in zip(*triples, strict=True))
    return z, y, x


def scanners(dataset: CaseDataset) -> dict[str, int]:
    """Cases by everything that names a scanner: the attributes that end in manufacturer, vendor, scanner or model."""
    names = [_scanner([v for k, v in case.attributes.items() if k.endswith(SCANNER)]) for case in dataset]
    return dict(Counter(name for name in names if name).most_common())


def _scanner(names: Sequence[str]) -> str:
    """The names joined, without those that another one holds already."""
    once = list(dict.fromkeys(names))
    joined = " ".join(n for n in once if not any(n != o and n in o for o in once))
    return joined


def structure_summaries(dataset: CaseDataset, reports: Mapping[str, CaseReport]) -> tuple[StructureSummary, ...]:
    """Every structure of the schema; volumes where ``reports`` know them."""
    out = []
    for structure in dataset.schema.structures if dataset.schema else ():
        found = [v for r in reports.values() if (v := r.volumes_ml.get(structure.name)) is not None]
        out.append(StructureSummary.of(structure, found if reports else None))
    return tuple(out)
