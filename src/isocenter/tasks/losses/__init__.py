"""Losses of segmentation, by registered name; a plan sums them: ``task.options.loss: {dice: 1, cross-entropy: 1}``."""

from isocenter.tasks.losses.boundary import Boundary, signed_distance
from isocenter.tasks.losses.cldice import CentreLineDice, soft_skeleton
from isocenter.tasks.losses.contract import Loss, build_losses, loss, losses
from isocenter.tasks.losses.entropy import CrossEntropy, Focal, TopK
from isocenter.tasks.losses.overlap import Dice, GeneralisedDice, Tversky, soft_dice
from isocenter.tasks.losses.seen import Seen
from isocenter.tasks.losses.total import class_weights, prepare_losses, sum_losses

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
    "class_weights",
    "loss",
    "losses",
    "prepare_losses",
    "signed_distance",
    "soft_dice",
    "soft_skeleton",
    "sum_losses",
]
