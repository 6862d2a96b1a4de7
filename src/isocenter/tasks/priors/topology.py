"""Topology: how many pieces and holes a structure, or several together, have in every slice or in the volume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from isocenter.tasks.priors.betti import betti_2d, betti_3d, persistent_loops, require_gudhi
from isocenter.tasks.priors.contract import Labels, Maps, Prior, Violation, prior
from isocenter.tasks.priors.mending import Mask, largest_piece, least_ring, relabelled, softmax, without_holes
from isocenter.volume import Grid

__all__ = ["FEWEST", "Topology", "counted"]

FEWEST = 4
"""Voxels of a structure in a slice below which nothing is said of its shape."""


@prior("topology")
class Topology(Prior):
    """A structure, or several taken together, has one piece and so many holes, in every slice or in the volume.

    A repair of a slice closes a loop that is nearly closed, fills other holes, and drops other pieces. It is left
    undone, and flagged, where the loop's weakest place is less probable than ``least_probability``, or more than
    ``most_change`` of the structure would change. Volumes are checked, not repaired.

    Attributes:
        structure: Its name.
        joined: Names of structures that it is taken together with.
        per: Whether it must hold in every slice that has the structure, or in the volume.
        holes: In a slice 0 or 1; in the volume those that go through it.
        cavities: In the volume, those that are closed all around.
        least_probability: Of the structure at the weakest place of a loop that is closed.
        most_change: Share of the structure's voxels in the slice.
    """

    structure: str
    joined: tuple[str, ...] = ()
    per: Literal["slice", "volume"] = "slice"
    holes: int = Field(default=0, ge=0)
    cavities: int = Field(default=0, ge=0)
    least_probability: float = Field(default=0.02, ge=0, le=1)
    most_change: float = Field(default=0.5, ge=0)

    @model_validator(mode="after")
    def _of_slices(self) -> Topology:
        if self.per == "slice" and self.holes > 1:
            raise ValueError(f"holes {self.holes}: a slice has 0 or 1; more are for per: volume")
        if self.per == "slice" and self.cavities:
            raise ValueError(f"cavities {self.cavities}: a slice has holes; cavities are for per: volume")
        return self

    def model_post_init(self, context: Any) -> None:
        """What a repair needs is missed when the plan is read, not at the first slice that is broken."""
        if self.per == "slice" and self.holes:
            require_gudhi()

    @property
    def structures(self) -> tuple[str, ...]:
        """See `Prior`."""
        return (self.structure, *self.joined)

    def check(self, labels: Labels, grid: Grid) -> list[Violation]:
        """Slices in which it has other than one piece, or other holes; or that the volume does."""
        mask = np.logical_or.reduce([labels[name] for name in self.structures])
        name = " with ".join(self.structures)
        if self.per == "volume":
            found, wanted = betti_3d(mask), (1, self.holes, self.cavities)
            if mask.sum() < FEWEST or found == wanted:
                return []
            return [Violation(self.kind, f"{name}: {counted(*found)}, expected {counted(*wanted)}")]
        wrong = []
        for k, plane in enumerate(mask):
            if plane.sum() >= FEWEST and betti_2d(plane) != (1, self.holes):
                text = f"{counted(*betti_2d(plane))}, expected {counted(1, self.holes)}"
                wrong.append(Violation(self.kind, f"{name}, slice {k}: {text}", k))
        return wrong

    def repair(self, maps: Maps, numbers: Mapping[str, int]) -> Maps:
        """See `Prior`."""
        chosen = [numbers[name] for name in self.structures]
        mask = np.isin(maps.argmax(0), chosen)
        if self.per == "volume" or mask.sum() < FEWEST or betti_2d(mask) == (1, self.holes):
            return maps
        wanted = self._wanted(maps, chosen, mask)
        if wanted is None or (wanted ^ mask).sum() > self.most_change * mask.sum():
            return maps
        return relabelled(maps, chosen, wanted)

    def _wanted(self, maps: Maps, chosen: list[int], mask: Mask) -> Mask | None:
        if self.holes == 0:
            return without_holes(largest_piece(mask))
        loops = persistent_loops(softmax(maps)[chosen].sum(0), least=self.least_probability, inside=~mask)
        return least_ring(mask, maps, chosen, loops, lambda ring: int((ring ^ mask).sum()))


def counted(pieces: int, holes: int, cavities: int = 0) -> str:
    """Betti numbers in words.

    Example:
        >>> counted(2, 0), counted(1, 1, 2)
        ('2 pieces with no holes', '1 piece with 1 hole and 2 cavities')
    """
    text = f"{pieces} piece{'s' * (pieces != 1)} with {holes or 'no'} hole{'s' * (holes != 1)}"
    return text + (f" and {cavities} cavit{'y' if cavities == 1 else 'ies'}" if cavities else "")
