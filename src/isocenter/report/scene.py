"""What the viewer in a report shows: images, labels and boxes on one grid, as data that a page can hold."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isocenter.postprocess import bounding_box
from isocenter.records import Boxes, Flag, GeometryError, LabelMap, Masks
from isocenter.report.codes import words
from isocenter.report.colours import colours_of, hex_of
from isocenter.report.packing import pack_image, pack_labels
from isocenter.report.planes import Plane, planes_of
from isocenter.report.tones import Window, tones_of
from isocenter.report.viewing import bytes_on, is_placed, labels_on, viewing_grid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from isocenter.records import Prediction
    from isocenter.report.parts import Layer
    from isocenter.volume import Grid, Volume

__all__ = ["MOST_BYTES", "Scene", "base_image", "scene_of"]

MOST_BYTES = 10_500_000
"""Most text that the voxels of a report may take; with everything else a report stays below 12 MB."""

_log = logging.getLogger(__name__)


@dataclass
class Scene:
    """Content of the viewer.

    Attributes:
        grid: The viewing grid.
        planes: Planes to show it in.
        meta: What the viewer needs to know, of plain types.
        blocks: Packed voxels by the id that ``meta`` gives them.
        window: The window it opens with.
        flags: What could not be shown.
    """

    grid: Grid
    planes: tuple[Plane, ...]
    meta: dict[str, Any] = field(default_factory=dict)
    blocks: dict[str, str] = field(default_factory=dict)
    window: Window = field(default_factory=lambda: Window("", 0.5, 1.0))
    flags: list[Flag] = field(default_factory=list)


def base_image(prediction: Prediction, images: Mapping[str, Volume]) -> str | None:
    """Name of the image that annotations lie on; the first one where they do not say."""
    named = [a.image for a in prediction.annotations if a.image in images]
    return next(iter([*(name for name in named if name), *images]), None)


def scene_of(prediction: Prediction, images: Mapping[str, Volume], layers: Sequence[Layer]) -> Scene | None:
    """The scene of a prediction; ``None`` where there is no image.

    Other images and maps are shown on the grid of the base image. What lies in another frame of reference is left out
    and flagged. Where the voxels would take more than `MOST_BYTES`, the grid is made coarser.
    """
    name = base_image(prediction, images)
    if name is None:
        return None
    order = {name: images[name], **images, **{f"map {words(k)}": m for k, m in prediction.maps.items()}}
    scale = float(len(order)) ** (-1 / 3)
    while True:
        grid = viewing_grid(images[name].grid, scale=scale)
        scene = Scene(grid, planes_of(grid))
        first = _add_images(scene, order)
        labelled = _add_layers(scene, layers)
        size = sum(len(text) for text in scene.blocks.values())
        if size <= MOST_BYTES or max(grid.shape) < 32:
            break
        scale *= 0.97 * (MOST_BYTES / size) ** (1 / 3)
    boxes = _boxes(prediction, images, grid)
    start, values = _opening(first, labelled, boxes)
    tones = tones_of(images[name])
    scene.window = tones.suiting(float(tones.levels[values].mean()) if values.size else None)
    scene.meta |= {
        "shape": list(grid.shape),
        "spacing": list(grid.spacing_mm),
        "affine": grid.affine.tolist(),
        "placed": is_placed(grid),
        "planes": [
            {"key": p.key, "normal": p.normal, "row": p.row, "column": p.column, "flipped": p.flipped}
            for p in scene.planes
        ],
        "boxes": boxes,
        "start": start,
        "window": {"level": scene.window.level, "width": scene.window.width},
    }
    return scene


def _add_images(scene: Scene, images: Mapping[str, Volume]) -> NDArray[np.uint8]:
    """Pack every image; gives the bytes of the first."""
    arrays, shown = [], []
    for number, (name, volume) in enumerate(images.items()):
        tones = tones_of(volume)
        try:
            array = bytes_on(volume, scene.grid, tones)
        except GeometryError:
            _log.info("an image in another frame of reference is left out of the report")
            scene.flags.append(Flag("image-not-shown", f"{name}: not shown, it is in another frame of reference."))
            continue
        ids = [f"image-{number}-{channel}" for channel in range(len(array))]
        scene.blocks |= dict(zip(ids, map(pack_image, array), strict=True))
        arrays.append(array[0])
        shown.append(
            {
                "name": name,
                "unit": tones.unit,
                "blocks": ids,
                "levels": [round(float(v), 4) for v in tones.levels],
                "windows": [{"name": w.name, "level": w.level, "width": w.width} for w in tones.windows],
            }
        )
    scene.meta["images"] = shown
    return np.asarray(arrays[0])


def _add_layers(scene: Scene, layers: Sequence[Layer]) -> NDArray[np.bool_]:
    """Pack every layer; gives where anything is labelled."""
    labelled = np.zeros(scene.grid.shape, dtype=bool)
    structures: list[dict[str, Any]] = []
    blocks: list[str] = []
    for layer in layers:
        schema = layer.annotation.schema
        try:
            found = labels_on(layer, scene.grid)
        except GeometryError:
            scene.flags.append(Flag("labels-not-shown", "Labels in another frame of reference are not shown."))
            continue
        colours = dict(zip(schema.names, colours_of(schema, before=len(structures)), strict=True))
        for view in found:
            labelled |= view.array > 0
            scene.blocks[f"labels-{len(blocks)}"] = pack_labels(view.array)
            present = np.bincount(view.array.ravel(), minlength=256) > 0
            for name, member in zip(view.names, view.member, strict=True):
                structures.append(
                    {
                        "name": words(name),
                        "colour": hex_of(colours[name]),
                        "layer": len(blocks),
                        "bytes": np.flatnonzero(member).tolist(),
                        "empty": not bool((member & present).any()),
                    }
                )
            blocks.append(f"labels-{len(blocks)}")
    scene.meta |= {"structures": structures, "layers": blocks}
    return labelled


def _boxes(prediction: Prediction, images: Mapping[str, Volume], grid: Grid) -> list[dict[str, Any]]:
    """Boxes in (fractional, edge to edge) indices of the viewing grid."""
    shown: list[dict[str, Any]] = []
    before = sum(len(a.schema) for a in prediction.annotations if isinstance(a, LabelMap | Masks))
    for boxes in (a for a in prediction.annotations if isinstance(a, Boxes)):
        name = boxes.image if boxes.image in images else base_image(prediction, images)
        source = images[name].grid if name is not None else grid
        colours = colours_of(boxes.schema, before=before)
        for i, corners in enumerate(boxes.corners):
            ends = np.stack(np.meshgrid(*zip(corners[:3], corners[3:], strict=True)), -1).reshape(-1, 3)
            places = grid.to_index(source.to_world(ends))
            kind = int(boxes.classes[i])
            shown.append(
                {
                    "name": words(boxes.schema.names[kind]),
                    "kind": kind,
                    "colour": hex_of(colours[kind]),
                    "low": [round(float(v), 3) for v in places.min(axis=0)],
                    "high": [round(float(v), 3) for v in places.max(axis=0)],
                    "score": None if boxes.scores is None else round(float(boxes.scores[i]), 4),
                }
            )
    return sorted(shown, key=lambda box: -(box["score"] or 0.0))


def _opening(
    image: NDArray[np.uint8], labelled: NDArray[np.bool_], boxes: Sequence[Mapping[str, Any]]
) -> tuple[list[int], NDArray[np.uint8]]:
    """Voxel where the viewer opens, and the bytes of the image at what was found."""
    shape = np.asarray(image.shape)
    if boxes:
        low, high = (np.asarray(boxes[0][end]) for end in ("low", "high"))
        around = (high - low) / 2  # what surrounds a nodule tells lung from bone
        start = np.clip(np.rint((low + high) / 2).astype(int), 0, shape - 1)
        first = np.clip(np.rint(low - around).astype(int), 0, start)
        last = np.clip(np.rint(high + around).astype(int), start + 1, shape)
        return start.tolist(), image[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    box = bounding_box(labelled)
    ends = np.asarray(box) if box is not None else np.asarray([(0, 0, 0), shape])
    return ((ends[0] + ends[1] - 1) // 2).tolist(), image[labelled]
