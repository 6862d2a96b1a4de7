"""Losses of overlap: Dice, generalised Dice, Tversky."""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from isocenter.tasks.losses.contract import Loss, loss
from isocenter.tasks.losses.seen import Seen

__all__ = ["Dice", "GeneralisedDice", "Tversky", "soft_dice"]


def soft_dice(seen: Seen) -> Tensor:
    """Soft Dice of each structure over the whole batch, ``(structure,)``; NaN where no voxel of it is in the batch.

    Dice over a batch is steadier than over single patches that may lack the structure.
    """
    both, size, real = _sums(seen)
    dice = 2 * both / (size + real).clamp_min(1e-6)
    return torch.where(real > 0, dice, torch.full_like(dice, torch.nan))


def _sums(seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
    """Of each structure: overlap, prediction, truth."""
    found, truth = seen.probabilities[:, seen.first :] * seen.mask, seen.one_hot[:, seen.first :] * seen.mask
    axes = (0, 2, 3, 4)
    return (found * truth).sum(axes), found.sum(axes), truth.sum(axes)


@loss("dice")
class Dice(Loss):
    """``1 - Dice``, mean over the structures of the batch (Milletari et al. 2016, without squares)."""

    def __call__(self, seen: Seen) -> Tensor:
        """See `Loss`."""
        dice = soft_dice(seen)
        return seen.over_structures(1 - dice, ~dice.isnan())


@loss("generalised-dice")
class GeneralisedDice(Loss):
    """Dice of all structures and background together, each weighed by one over its squared size (Sudre et al. 2017).

    What is not in the batch weighs nothing.
    """

    def __call__(self, seen: Seen) -> Tensor:
        """See `Loss`."""
        axes = (0, 2, 3, 4)
        both = (seen.probabilities * seen.one_hot * seen.mask).sum(axes)
        size, real = (seen.probabilities * seen.mask).sum(axes), (seen.one_hot * seen.mask).sum(axes)
        weights = torch.where(real > 0, 1 / real.clamp_min(1) ** 2, torch.zeros_like(real))
        if seen.weights is not None:
            weights = weights * seen.weights.to(weights)
        dice = 2 * (weights * both).sum() / (weights * (size + real)).sum().clamp_min(1e-12)
        return (1 - dice) * (weights.sum() > 0)


@loss("tversky")
class Tversky(Loss):
    """Overlap in which misses and false alarms count differently (Salehi et al. 2017).

    Attributes:
        alpha: Of false alarms.
        beta: Of misses; above ``alpha`` where small structures are missed.
        exponent: Of ``1 - Tversky``; 0.75 is the focal Tversky loss of Abraham & Khan 2019.
    """

    alpha: float = Field(default=0.3, ge=0)
    beta: float = Field(default=0.7, ge=0)
    exponent: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _something_costs(self) -> Self:
        if self.alpha + self.beta == 0:
            raise ValueError("alpha and beta are both 0, so that nothing is wrong; set one of them above 0")
        return self

    def __call__(self, seen: Seen) -> Tensor:
        """See `Loss`."""
        both, size, real = _sums(seen)
        index = both / (both + self.alpha * (size - both) + self.beta * (real - both)).clamp_min(1e-6)
        return seen.over_structures((1 - index).clamp_min(1e-6) ** self.exponent, real > 0)
