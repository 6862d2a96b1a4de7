"""Priors between structures and of their size."""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator

from isocenter.tasks.priors.contract import Labels, Prior, Violation, prior
from isocenter.volume import Grid

__all__ = ["Inside", "VolumeRange"]


@prior("inside")
class Inside(Prior):
    """A structure lies in, or touches, others: a nodule in the lungs.

    Attributes:
        structure: Its name.
        within: Names of what holds it.
    """

    structure: str
    within: tuple[str, ...] = Field(min_length=1)

    @property
    def structures(self) -> tuple[str, ...]:
        """See `Prior`."""
        return (self.structure, *self.within)

    def check(self, labels: Labels, grid: Grid) -> list[Violation]:
        """Pieces that touch none of the holders."""
        from scipy.ndimage import binary_dilation, label

        near = binary_dilation(np.logical_or.reduce([labels[name] for name in self.within]), np.ones((3, 3, 3)))
        pieces, count = label(labels[self.structure], np.ones((3, 3, 3)))
        touching = set(np.unique(pieces[near]).tolist())
        stray = [k for k in range(1, count + 1) if k not in touching]
        if not stray:
            return []
        voxels = int(np.isin(pieces, stray).sum())
        holders = " or ".join(self.within)
        text = f"{self.structure}: {len(stray)} of {count} pieces ({voxels} voxels) do not touch {holders}"
        return [Violation(self.kind, text)]


@prior("volume")
class VolumeRange(Prior):
    """A structure's volume lies in a range; of that of another where spacing is not to be relied on.

    Attributes:
        structure: Its name.
        least: In millilitres, or of the other's volume.
        most: Likewise.
        of: The other structure.
    """

    structure: str
    least: float = Field(default=0.0, ge=0)
    most: float = Field(default=float("inf"), gt=0)
    of: str | None = None

    @model_validator(mode="after")
    def _in_order(self) -> VolumeRange:
        if self.least > self.most:
            raise ValueError(f"least {self.least:g} is above most {self.most:g}")
        return self

    @property
    def structures(self) -> tuple[str, ...]:
        """See `Prior`."""
        return (self.structure,) if self.of is None else (self.structure, self.of)

    def check(self, labels: Labels, grid: Grid) -> list[Violation]:
        """Whether it is out of range; an absent structure is not spoken of."""
        count = int(labels[self.structure].sum())
        if not count:
            return []
        value, unit = count * grid.voxel_volume_ml, " ml"
        if self.of is not None:
            whole = int(labels[self.of].sum())
            if not whole:
                return []
            value, unit = count / whole, f" of {self.of}"
        if self.least <= value <= self.most:
            return []
        text = f"{self.structure}: {value:.3g}{unit}, expected {self.least:g} to {self.most:g}"
        return [Violation(self.kind, text)]
