"""Losses of segmentation, by registered name; a plan sums them: ``task.options.loss: {dice: 1, cross-entropy: 1}``."""

from isocenter.tasks.losses.boundary import Boundary, signed_distance
from isocenter.tasks.losses.cldice import CentreLineDice, soft_skeleton
from isocenter.tasks.losses.contract import Loss, build_losses, loss, losses
from isocenter.tasks.losses.entropy import CrossEntropy, Focal, TopK
from isocenter.tasks.losses.overlap import Dice, GeneralisedDice, Tversky, soft_dice
from isocenter.tasks.losses.seen import Seen

__all__ = [
    "Boundary",
    "CentreLineDice",
    "CrossEntropy",
    "Dice",
    "Focal",
    "GeneralisedDice",
    "Loss",
    "Seen",
    "TopK",
    "Tversky",
    "build_losses",
    "loss",
    "losses",
    "signed_distance",
    "soft_dice",
    "soft_skeleton",
]
