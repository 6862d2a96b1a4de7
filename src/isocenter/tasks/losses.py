"""Losses of segmentation on logits; unannotated voxels take no part."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from isocenter.records import IGNORE

__all__ = ["exclusive_terms", "overlapping_terms"]


def exclusive_terms(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and soft Dice of exclusive structures.

    Args:
        logits: ``(batch, 1 + structure, D, H, W)``, background first.
        labels: ``(batch, 1, D, H, W)`` numbers 0..K, `IGNORE` where unannotated.

    Returns:
        Mean cross-entropy, and soft Dice of each structure ``(structure,)`` over the whole batch (Dice over a batch is
        steadier than over single patches that may lack the structure); NaN where no voxel of it is in the batch.
    """
    target = labels[:, 0].long()
    known = target != IGNORE
    log_p = functional.log_softmax(logits.float(), 1)
    entropy = functional.nll_loss(log_p, target.where(known, torch.tensor(-100)), ignore_index=-100, reduction="sum")
    share = log_p.exp()
    hot = functional.one_hot(target.where(known, torch.tensor(0)), logits.shape[1]).movedim(-1, 1).to(share.dtype)
    mask = known[:, None].to(share.dtype)
    return entropy / known.sum().clamp_min(1), _soft_dice(share[:, 1:], hot[:, 1:], mask)


def overlapping_terms(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy and soft Dice of structures that may overlap.

    Args:
        logits: ``(batch, structure, D, H, W)``.
        labels: The same shape, 0, 1 or `IGNORE`.

    Returns:
        As `exclusive_terms`.
    """
    known = labels != IGNORE
    target = labels.where(known, torch.tensor(0, dtype=labels.dtype)).float()
    entropy = functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    mask = known.float()
    return (entropy * mask).sum() / mask.sum().clamp_min(1), _soft_dice(logits.float().sigmoid(), target, mask)


def _soft_dice(share: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    axes = (0, *range(2, share.ndim))
    both = (share * truth * mask).sum(axes)
    size, real = (share * mask).sum(axes), (truth * mask).sum(axes)
    dice = 2 * both / (size + real).clamp_min(1e-6)
    return torch.where(real > 0, dice, torch.full_like(dice, torch.nan))
