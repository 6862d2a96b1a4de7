"""Every property by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from isocenter.errors import PlanError
from isocenter.radiomics.firstorder import _NAMES, first_order
from isocenter.radiomics.shape import _REST, shape
from isocenter.volume import Grid

__all__ = ["FIRST_ORDER", "PROPERTIES", "SHAPE", "measure_property"]

SHAPE = ("volume_ml", "mesh_volume_ml", "surface_area_mm2", *_REST)
"""Properties of a mask alone."""
FIRST_ORDER = _NAMES
"""Properties of the image under a mask."""
PROPERTIES = (*SHAPE, *FIRST_ORDER)
"""All of them."""


def measure_property(
    name: str, mask: NDArray[np.bool_], grid: Grid, image: Callable[[], NDArray[np.floating]] | None = None
) -> float:
    """One property of a structure.

    Args:
        name: One of `PROPERTIES`.
        mask: ``(slice, row, column)``.
        grid: Where its voxels are.
        image: Gives the image on the same grid, for those of `FIRST_ORDER`.

    Raises:
        PlanError: No such property.

    Example:
        >>> measure_property("volume_ml", np.ones((2, 5, 10), bool), Grid.regular((2, 5, 10), spacing_mm=(10, 1, 1)))
        1.0
    """
    if name == "volume_ml":  # without a mesh
        return int(mask.sum()) * grid.voxel_volume_ml
    if name in SHAPE:
        return shape(mask, grid)[name]
    if name in FIRST_ORDER:
        return first_order(image()[mask] if image is not None else np.zeros(0))[name]
    near = difflib.get_close_matches(name, PROPERTIES, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise PlanError(f"measured: no property {name!r}{hint}; there are: {', '.join(PROPERTIES)}")
