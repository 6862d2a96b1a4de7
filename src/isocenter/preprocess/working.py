"""The working grid of a case: where its images are brought before the network sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isocenter.volume import Grid, Volume, resample

if TYPE_CHECKING:
    from isocenter.plan import PreprocessSpec

__all__ = ["to_working", "working_grid"]


def working_grid(reference: Grid, spec: PreprocessSpec) -> Grid:
    """Grid over the reference image's box, turned to the plan's orientation and spacing.

    A spacing within 1 % of the wanted one is kept, so that images are not interpolated for nothing; an axis whose
    wanted spacing is 0 keeps its own.

    Example:
        >>> from isocenter.plan import PreprocessSpec
        >>> grid = Grid.regular((10, 64, 64), spacing_mm=(5, 1, 1))
        >>> working_grid(grid, PreprocessSpec(reference="ct", spacing_mm=(5, 2, 2))).shape
        (10, 32, 32)
    """
    grid = reference.reorient(spec.orientation) if spec.orientation else reference
    if spec.spacing_mm is None:
        return grid
    own = grid.spacing_mm
    wanted = [
        mine if target == 0 or abs(target / mine - 1) < 0.01 else target
        for target, mine in zip(spec.spacing_mm, own, strict=True)
    ]
    return grid if wanted == list(own) else grid.respaced(wanted)


def to_working(volume: Volume, grid: Grid, spec: PreprocessSpec) -> Volume:
    """``volume`` on the working grid, float32; the border is repeated where the image ends.

    Example:
        >>> import numpy as np
        >>> from isocenter.plan import PreprocessSpec
        >>> spec = PreprocessSpec(reference="ct", spacing_mm=(1, 1, 2))
        >>> row = Volume(np.arange(8.0).reshape(1, 1, 8), Grid.regular((1, 1, 8), spacing_mm=(1, 1, 1)))
        >>> [round(float(v), 1) for v in to_working(row, working_grid(row.grid, spec), spec).array.ravel()]
        [0.6, 2.5, 4.5, 6.4]
    """
    turned = volume.reorient(spec.orientation) if spec.orientation else volume
    return resample(turned, grid, interpolation=spec.interpolation)
