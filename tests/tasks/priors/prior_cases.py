"""Class maps of a cavity in its wall, shared by the tests of priors."""

from __future__ import annotations

import numpy as np
import pytest

from isocenter.tasks.priors import build_priors

gudhi = pytest.importorskip("gudhi")
NUMBERS = {"inner": 1, "outer": 2}
NAMES = tuple(NUMBERS)
RING = build_priors([{"kind": "ring", "inner": "inner", "outer": "outer"}], NAMES)[0]
TOPOLOGY = build_priors([{"kind": "topology", "structure": "outer", "holes": 1}], NAMES)[0]


def ring_maps(gap: float | None = None, *, island: bool = False, size: int = 31) -> np.ndarray:
    """Logits of background, cavity and wall; the wall is weak, but not nothing, in a gap of so many radians."""
    rows, columns = np.mgrid[:size, :size] - size // 2
    radius, angle = np.hypot(rows, columns), np.arctan2(rows, columns)
    wall = (radius >= 7) & (radius < 10)
    # background is nowhere near between cavity and wall, or interpolation would find a seam of it there
    maps = np.stack([np.where(radius < 10, -6.0, 2.0), np.where(radius < 7, 5.0, -3.0), np.where(wall, 5.0, -3.0)])
    if gap is not None:
        weak = wall & (np.abs(angle) < gap / 2)
        maps[0][weak], maps[2][weak] = 2.0, 1.0
    if island:
        maps[2][2:5, 2:5] = 4.0
    return maps.astype(np.float32)


def labels_of(maps: np.ndarray) -> np.ndarray:
    return maps.argmax(0)
