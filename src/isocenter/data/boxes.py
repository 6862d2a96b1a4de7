"""Boxes: from JSON files, and round the connected parts of label maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import DatasetError, FileFormatError
from isocenter.records import Boxes, LabelSchema, Structure
from isocenter.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BoxList", "boxes_from_labels", "read_boxes"]


@dataclass(frozen=True)
class BoxList:
    """What a JSON file of boxes says: a class name and six corners each, in voxel edge coordinates (see `Boxes`)."""

    classes: tuple[str, ...]
    corners: tuple[tuple[float, ...], ...]

    def annotation(self, schema: LabelSchema, *, name: str, image: str | None, source: str) -> Boxes:
        """Boxes under ``schema``, which must have every class.

        Raises:
            DatasetError: It lacks one.
        """
        unknown = sorted(set(self.classes) - set(schema.names))
        if unknown:
            raise DatasetError(f"{source}: class '{unknown[0]}' is not declared (declared: {', '.join(schema.names)})")
        return Boxes(
            schema=schema,
            corners=np.array(self.corners, dtype=np.float64).reshape(-1, 6),
            classes=np.array([schema.names.index(c) for c in self.classes], dtype=np.int64),
            name=name,
            image=image,
            source=source,
        )


def read_boxes(path: str | Path) -> BoxList:
    """Boxes from JSON: ``{"boxes": [{"class": "nodule", "corners": [z0, y0, x0, z1, y1, x1]}, ...]}``.

    Raises:
        FileFormatError: Not such a file, or a box without extent.
    """
    from isocenter.io.files import read_json

    found = read_json(Path(path))
    rows = found.get("boxes") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        raise FileFormatError(f'{path}: expected {{"boxes": [{{"class": name, "corners": [z0, y0, x0, z1, y1, x1]}}]}}')
    classes, corners = [], []
    for i, row in enumerate(rows):
        numbers = _numbers(row)
        if numbers is None:
            raise FileFormatError(f"{path}: box {i} must have a 'class' and six finite 'corners'; found {row!r:.120}")
        if any(low >= high for low, high in zip(numbers[:3], numbers[3:], strict=True)):
            raise FileFormatError(f"{path}: box {i} has no extent: corners {list(numbers)}; low corner comes first")
        classes.append(str(row["class"]))
        corners.append(numbers)
    return BoxList(tuple(classes), tuple(corners))


def _numbers(row: Any) -> tuple[float, ...] | None:
    if not isinstance(row, dict) or "class" not in row or not isinstance(row.get("corners"), list):
        return None
    try:
        numbers = tuple(float(c) for c in row["corners"])
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == 6 and np.isfinite(numbers).all() else None


def boxes_from_labels(
    label_map: Volume,
    schema: LabelSchema,
    structures: Sequence[str] | None = None,
    *,
    name: str = "main",
    image: str | None = None,
    min_voxels: int = 1,
) -> Boxes:
    """One box round each connected part of chosen structures.

    Voxels that touch at a face, an edge or a corner are connected. Boxes come in the order of the structures, then of
    their first voxel; the instance masks are kept beside them (where regions overlap, that of the later box).

    Args:
        label_map: One channel, values as in ``schema``.
        schema: Of the label map.
        structures: Names of those to box; all where ``None``.
        name: Set that the boxes belong to.
        image: Image that the label map lies on.
        min_voxels: Smaller parts are left out.

    Returns:
        Boxes whose schema holds the chosen structures, in their order.

    Raises:
        LabelError: A structure that the schema does not have.

    Example:
        >>> from isocenter.volume import Grid
        >>> array = np.zeros((1, 8, 8), np.uint8)
        >>> array[0, 1:3, 1:4] = array[0, 5:8, 6] = 1
        >>> grid = Grid.regular((1, 8, 8), spacing_mm=(1, 1, 1))
        >>> found = boxes_from_labels(Volume(array, grid, "label"), LabelSchema.of({"nodule": 1}))
        >>> found.corners.tolist()
        [[-0.5, 0.5, 0.5, 0.5, 2.5, 3.5], [-0.5, 4.5, 5.5, 0.5, 7.5, 6.5]]
    """
    chosen = tuple(schema[n] for n in (schema.names if structures is None else structures))
    corners, classes, instances = _parts(label_map.array[0], chosen, min_voxels)
    volume = Volume(instances, label_map.grid, "label")
    return Boxes(
        schema=_only(schema, chosen),
        corners=np.array(corners, dtype=np.float64).reshape(-1, 6),
        classes=np.array(classes, dtype=np.int64),
        instances=lambda: volume,
        name=name,
        image=image,
        source="connected parts of the label map",
    )


def _parts(
    array: NDArray[Any], chosen: Sequence[Structure], min_voxels: int
) -> tuple[list[list[float]], list[int], NDArray[np.int32]]:
    from scipy import ndimage

    instances = np.zeros(array.shape, np.int32)
    corners: list[list[float]] = []
    classes: list[int] = []
    for position, structure in enumerate(chosen):
        parts, _ = ndimage.label(np.isin(array, structure.values), np.ones((3, 3, 3)))
        for part, where in enumerate(ndimage.find_objects(parts), start=1):
            mask = parts[where] == part
            if mask.sum() < min_voxels:
                continue
            corners.append([w.start - 0.5 for w in where] + [w.stop - 0.5 for w in where])
            classes.append(position)
            instances[where][mask] = len(corners)
    return corners, classes, instances


def _only(schema: LabelSchema, chosen: tuple[Structure, ...]) -> LabelSchema:
    names = {s.name for s in chosen}
    kept = tuple(s if s.mirror in names else replace(s, mirror=None) for s in chosen)
    return LabelSchema(kept, exclusive=schema.exclusive)
