"""Losses by voxel: cross-entropy, focal, top-k."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from isocenter.tasks.losses.contract import Loss, loss
from isocenter.tasks.losses.seen import Seen

__all__ = ["CrossEntropy", "Focal", "TopK"]


@loss("cross-entropy")
class CrossEntropy(Loss):
    """Mean cross-entropy of annotated voxels."""

    def __call__(self, seen: Seen) -> Tensor:
        """See `Loss`."""
        weights = seen.voxel_weights
        return (seen.entropies * weights).sum() / weights.sum().clamp_min(1e-6)


@loss("focal")
class Focal(Loss):
    """Cross-entropy in which what is right already counts little (Lin et al. 2017).

    Attributes:
        gamma: The larger, the less easy voxels count; 0 is the cross-entropy.
    """

    gamma: float = Field(default=2.0, ge=0)

    def __call__(self, seen: Seen) -> Tensor:
        """See `Loss`."""
        weights = seen.voxel_weights
        # 1 - p of the truth, from the loss of each voxel; its own gradient is part of the loss
        wrong = -torch.expm1(-seen.entropies)
        return (wrong.clamp_min(1e-8) ** self.gamma * seen.entropies * weights).sum() / weights.sum().clamp_min(1e-6)


@loss("top-k")
class TopK(Loss):
    """Mean cross-entropy of the hardest voxels (Wu et al. 2016).

    Attributes:
        share: Of annotated voxels that count.
    """

    share: float = Field(default=0.1, gt=0, le=1)

    def __call__(self, seen: Seen) -> Tensor:
        """See `Loss`."""
        known = seen.known.expand_as(seen.entropies)
        values, weights = seen.entropies[known], seen.voxel_weights.expand_as(seen.entropies)[known]
        if not len(values):
            return seen.entropies.sum() * 0
        hardest = values.detach().topk(max(1, round(self.share * len(values)))).indices
        return (values[hardest] * weights[hardest]).sum() / weights[hardest].sum().clamp_min(1e-6)
