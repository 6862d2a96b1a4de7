"""A case as the network sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from isocenter.records import Case
from isocenter.tasks import Placement, Targets
from isocenter.volume import Grid

__all__ = ["Sample"]


@dataclass(frozen=True)
class Sample:
    """Prepared inputs of one case, with what is needed to bring a result back.

    Attributes:
        case: Where it comes from.
        inputs: By image name: ``(channel, D, H, W)`` float32, normalised, all on the working grid; a vector of numbers
            is ``(channel, 1, 1, 1)``.
        present: By image name: the case has it; a missing one is zeros.
        targets: Truth as the task encodes it; empty when predicting.
        grids: Working grid by image name.
        reference: Grid of the reference image as stored.
        placement: Working grid and the reference grid in the same order of axes.
    """

    case: Case
    inputs: Mapping[str, Tensor]
    present: Mapping[str, bool]
    grids: Mapping[str, Grid]
    reference: Grid
    placement: Placement
    targets: Targets = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the working grid."""
        return self.placement.working.shape
