"""clDice: overlap of centre lines, for vessels and other tubes."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from isocenter.tasks.losses.contract import Loss, loss
from isocenter.tasks.losses.seen import Seen

__all__ = ["CentreLineDice", "soft_skeleton"]


def soft_skeleton(mask: Tensor, iterations: int) -> Tensor:
    """Skeleton of soft masks by repeated thinning.

    Args:
        mask: ``(batch, structure, D, H, W)`` in 0..1; one slice is thinned in two dimensions.
        iterations: At least the radius of the thickest structure in voxels.

    Returns:
        The same shape.

    Example:
        >>> bar = torch.zeros(1, 1, 1, 5, 7)
        >>> bar[..., 1:4, :] = 1
        >>> soft_skeleton(bar, 2)[0, 0, 0, :, 3].tolist()
        [0.0, 0.0, 1.0, 0.0, 0.0]

    Reference:
        Shit et al., *clDice*, CVPR 2021, algorithm 1.
    """
    skeleton = functional.relu(mask - _open(mask))
    for _ in range(iterations):
        mask = _erode(mask)
        rest = functional.relu(mask - _open(mask))
        skeleton = skeleton + functional.relu(rest - skeleton * rest)
    return skeleton


def _erode(x: Tensor) -> Tensor:
    """Least of the neighbours along each axis."""
    axes = (2, 3, 4) if x.shape[2] > 1 else (3, 4)
    lowest = []
    for axis in axes:
        kernel = [3 if a == axis else 1 for a in (2, 3, 4)]
        lowest.append(-functional.max_pool3d(-x, kernel, 1, [k // 2 for k in kernel]))
    return torch.stack(lowest).amin(0)


def _open(x: Tensor) -> Tensor:
    deep = 3 if x.shape[2] > 1 else 1
    return functional.max_pool3d(_erode(x), (deep, 3, 3), 1, (deep // 2, 1, 1))


@loss("cldice")
class CentreLineDice(Loss):
    """``1 - clDice``: does the prediction hold the truth's centre line, and the truth the prediction's (Shit 2021)?

    Attributes:
        iterations: Of the thinning; at least the radius of the thickest structure in voxels.
    """

    finest_only: ClassVar[bool] = True

    iterations: int = Field(default=5, ge=1, le=100)

    def __call__(self, seen: Seen) -> Tensor:
        """See `Loss`."""
        found = seen.probabilities[:, seen.first :] * seen.mask
        truth = seen.one_hot[:, seen.first :] * seen.mask
        with torch.no_grad():
            real_lines = soft_skeleton(truth, self.iterations)
        lines = soft_skeleton(found, self.iterations)
        axes = (0, 2, 3, 4)
        precision = ((lines * truth).sum(axes) + 1) / (lines.sum(axes) + 1)
        recall = ((real_lines * found).sum(axes) + 1) / (real_lines.sum(axes) + 1)
        return seen.over_structures(1 - 2 * precision * recall / (precision + recall), truth.sum(axes) > 0)
