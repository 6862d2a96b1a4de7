"""What a dataset is like, as far as a plan depends on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isocenter.data import CaseProblem, Dataset, map_threads
from isocenter.errors import DatasetError, IsocenterError
from isocenter.preprocess import check_values
from isocenter.records import Boxes, Case, LabelMap, LabelSchema, Masks
from isocenter.volume import Grid

__all__ = ["CaseFingerprint", "Fingerprint", "fingerprint"]

VALUES = 20_000
"""Voxels of a case whose values are kept."""


@dataclass(frozen=True)
class CaseFingerprint:
    """Of one case, on its reference image.

    Attributes:
        grid: Of the reference image.
        values: By image: values of annotated voxels, evenly drawn, at most `VALUES` (of all voxels without labels).
        extent_mm: Size of the box around everything annotated, along slice, row, column; ``None`` without.
        thickness_mm: By structure: hydraulic diameter 4 V / A, the diameter of a long cylinder.
        main_piece: By structure: share of its voxels in its largest connected piece (26 neighbours).
    """

    grid: Grid
    values: Mapping[str, NDArray[np.float32]]
    extent_mm: tuple[float, float, float] | None = None
    thickness_mm: Mapping[str, float] = field(default_factory=dict)
    main_piece: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Fingerprint:
    """Of the training part of a dataset."""

    cases: Mapping[str, CaseFingerprint]
    problems: tuple[CaseProblem, ...] = ()

    def median_spacing_mm(self) -> NDArray[np.float64]:
        """Along slice, row, column of the stored grids."""
        return np.median([c.grid.spacing_mm for c in self.cases.values()], axis=0)

    def median_size_mm(self) -> NDArray[np.float64]:
        """Of the images, along slice, row, column."""
        sizes = [np.multiply(c.grid.spacing_mm, c.grid.shape) for c in self.cases.values()]
        return np.median(sizes, axis=0)

    def extent_mm(self) -> NDArray[np.float64] | None:
        """Of the annotated box: what 95 % of the cases stay below."""
        found = [c.extent_mm for c in self.cases.values() if c.extent_mm]
        return np.percentile(found, 95, axis=0) if found else None

    def thickness_mm(self) -> dict[str, float]:
        """Median of each structure over the cases that have it."""
        names = {n for c in self.cases.values() for n in c.thickness_mm}
        return {
            n: float(np.median([c.thickness_mm[n] for c in self.cases.values() if n in c.thickness_mm]))
            for n in sorted(names)
        }

    def main_piece(self) -> dict[str, float]:
        """Of each structure, in the case where it is most scattered."""
        names = {n for c in self.cases.values() for n in c.main_piece}
        return {n: min(c.main_piece[n] for c in self.cases.values() if n in c.main_piece) for n in sorted(names)}

    def values(self, image: str) -> NDArray[np.float32]:
        """Of annotated voxels of an image over all cases.

        Raises:
            DatasetError: No case has the image.
        """
        found = [c.values[image] for c in self.cases.values() if image in c.values]
        if not found:
            raise DatasetError(f"image {image!r}: no usable case has it; leave it out of the plan's inputs")
        return np.concatenate(found)


def fingerprint(
    dataset: Dataset,
    *,
    reference: str,
    annotation: str = "main",
    schema: LabelSchema | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fingerprint:
    """Read every case of ``dataset`` once.

    A case that cannot be used is named in ``problems`` and takes no further part.

    Args:
        dataset: The training part.
        reference: Image whose grid counts.
        annotation: Set of annotations that is the truth.
        schema: Of its label maps, where the task has any.
        progress: Called with cases done and cases in all.

    Raises:
        DatasetError: No case can be used; the first cause is named.

    Example:
        >>> from isocenter.data import CaseDataset
        >>> from isocenter.records import ImageRef
        >>> from isocenter.volume import Volume
        >>> image = Volume(np.arange(64.0).reshape(4, 4, 4), Grid.regular((4, 4, 4), spacing_mm=(3, 1, 1)))
        >>> ref = ImageRef("ct", "memory", lambda region, level: image, lambda: image.grid)
        >>> dataset = CaseDataset("demo", [Case("a", "p", {"ct": ref}), Case("b", "q", {})])
        >>> found = fingerprint(dataset, reference="ct")
        >>> found.median_spacing_mm().tolist(), str(found.problems[0])
        ([3.0, 1.0, 1.0], "case b: image 'ct' is missing (it has: none)")
    """

    def look(case: Case) -> CaseFingerprint | CaseProblem:
        try:
            return _look(case, reference, annotation, schema)
        except IsocenterError as error:
            return CaseProblem.of(case.id, error)

    cases = list(dataset)
    found = map_threads(look, cases, progress=progress)
    usable = {c.id: f for c, f in zip(cases, found, strict=True) if isinstance(f, CaseFingerprint)}
    problems = tuple(f for f in found if isinstance(f, CaseProblem))
    if not usable:
        first = problems[0] if problems else "it has no cases"
        raise DatasetError(f"dataset {dataset.name}: none of its {len(cases)} cases can be used; the first: {first}")
    return Fingerprint(usable, problems)


def _look(case: Case, reference: str, annotation: str, schema: LabelSchema | None) -> CaseFingerprint:
    image = case.image(reference).read()
    check_values(image.array, f"case {case.id}: image {reference!r}")
    mask, labelled, extent, thickness, pieces = None, None, None, {}, {}
    labels = case.find(LabelMap, name=annotation, image=reference) or case.find(Masks, name=annotation, image=reference)
    if labels is not None and schema is not None:
        volume = labels.read()
        labelled = volume.grid
        encoded = schema.encode(volume.array[0]) if isinstance(labels, LabelMap) else volume.array.astype(np.uint8)
        own = schema if isinstance(labels, LabelMap) else LabelSchema(labels.schema.structures, exclusive=False)
        mask = _anything(encoded)
        extent = _extent(mask, volume.grid, image.grid)
        parts = _parts(encoded, own)
        thickness = {name: _thickness(part, volume.grid) for name, part in parts.items()}
        pieces = {name: _main_piece(part) for name, part in parts.items()}
        mask = mask if mask.any() else None
    boxes = case.find(Boxes, name=annotation, image=reference)
    if boxes is not None and len(boxes.corners):
        sides = (boxes.corners[:, 3:] - boxes.corners[:, :3]) * np.asarray(image.grid.spacing_mm)
        for k, name in enumerate(boxes.schema.names):
            if (boxes.classes == k).any():
                thickness[name] = float(np.median(sides[boxes.classes == k].max(1)))
    values = {}
    for name, ref in case.images.items():
        other = image if name == reference else ref.read()
        if name != reference:
            check_values(other.array, f"case {case.id}: image {name!r}")
        same = mask is not None and labelled is not None and labelled.is_close(other.grid, tolerance_mm=0.1)
        chosen = other.array[0][mask] if same else other.array.ravel()
        values[name] = chosen[:: -(-len(chosen) // VALUES)].astype(np.float32)
    return CaseFingerprint(image.grid, values, extent, thickness, pieces)


def _anything(encoded: NDArray[np.uint8]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = ((encoded > 0) & (encoded != 255)).any(0)
    return found


def _extent(mask: NDArray[np.bool_], grid: Grid, reference: Grid) -> tuple[float, float, float] | None:
    """Sides of the box around a mask, along the axes of the reference image."""
    if not mask.any():
        return None
    sides = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        sides.append(float(hit[-1] - hit[0] + 1) * grid.spacing_mm[axis])
    (a, b, c), _ = grid.axes_to(reference.orientation)
    return sides[a], sides[b], sides[c]


def _parts(encoded: NDArray[np.uint8], schema: LabelSchema) -> dict[str, NDArray[np.bool_]]:
    """Mask of each structure that is there, cut to its box with a border of one voxel where there is room."""
    out = {}
    for name, mask in zip(schema.names, schema.masks(encoded), strict=True):
        box = tuple(
            slice(max(int(h[0]) - 1, 0), int(h[-1]) + 2) if len(h) else slice(0, 0)
            for h in (np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3))
        )
        if mask[box].any():
            out[name] = mask[box]
    return out


def _thickness(part: NDArray[np.bool_], grid: Grid) -> float:
    """4 V / A with A from exposed voxel faces, which overstate a smooth surface by half on average."""
    spacing = np.asarray(grid.spacing_mm)
    faces = np.prod(spacing) / spacing
    area = 0.0
    for axis in range(3):
        if part.shape[axis] > 1:
            changes = int(np.count_nonzero(np.diff(part.view(np.int8), axis=axis)))
            area += changes * float(faces[axis])
    volume = float(part.sum()) * float(np.prod(spacing))
    return 4 * volume / max(area / 1.5, 1e-6)


def _main_piece(part: NDArray[np.bool_]) -> float:
    from scipy import ndimage

    pieces, _ = ndimage.label(part, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel())[1:]
    return float(sizes.max() / sizes.sum())
