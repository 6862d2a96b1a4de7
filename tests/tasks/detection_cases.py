"""Two boxes, one of each side, and their task."""

from __future__ import annotations

import numpy as np
from tests.synthetic import make_case

from isocenter.plan import TaskSpec
from isocenter.records import Boxes, LabelSchema
from isocenter.tasks import Detection, Targets, build_task
from isocenter.volume import Grid, Volume

GRID = Grid.regular((16, 24, 32), spacing_mm=(2, 1, 1), origin_mm=(-7, 3, 5))
SCHEMA = LabelSchema.of({"node_left": 1, "node_right": 2})
CORNERS = np.array([[1.5, 2.5, 3.5, 4.5, 6.5, 9.5], [8.5, 9.5, 10.5, 12.5, 17.5, 14.5]])


def detection(schema: LabelSchema = SCHEMA, **options: object) -> Detection:
    spec = TaskSpec(name="detection", structures=TaskSpec.structures_of(schema), options=options)
    return build_task(spec, "ct")


def image() -> Volume:
    return Volume(np.zeros(GRID.shape, np.float32), GRID)


def boxes(corners: np.ndarray = CORNERS, classes: tuple[int, ...] = (0, 1), schema: LabelSchema = SCHEMA, **more):
    return Boxes(image="ct", schema=schema, corners=corners, classes=np.array(classes, dtype=np.int64), **more)


def filled(corners: np.ndarray = CORNERS, values: tuple[int, ...] = (1, 2)) -> np.ndarray:
    array = np.zeros(GRID.shape, np.uint8)
    for box, value in zip((corners + 0.5).astype(int), values, strict=True):
        array[tuple(slice(a, b) for a, b in zip(box[:3], box[3:], strict=True))] = value
    return array


def encode(*annotations, task: Detection | None = None, grid: Grid = GRID) -> Targets:
    return (task or detection()).encode(make_case("k1", image(), *annotations), {"ct": grid})
