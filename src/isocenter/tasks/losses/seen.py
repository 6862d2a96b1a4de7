"""What every loss of segmentation looks at, computed once for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from isocenter.records import IGNORE

__all__ = ["Seen"]


@dataclass(frozen=True)
class Seen:
    """Logits and truth of a batch at one resolution; unannotated voxels take no part in anything that follows.

    Attributes:
        logits: ``(batch, channel, D, H, W)``; background first where structures are exclusive.
        labels: ``(batch, 1, D, H, W)`` numbers where structures are exclusive, else ``(batch, structure, D, H, W)`` of
            0 and 1; `isocenter.records.IGNORE` where unannotated.
        exclusive: One structure a voxel, by softmax; else each by itself, by sigmoid.
        weights: Of each channel of the logits, ``(channel,)``, in all losses.
        prepared: What `isocenter.tasks.losses.Loss.prepare` made of the labels, by the loss's name.

    Example:
        >>> seen = Seen(torch.zeros(1, 2, 1, 1, 3), torch.tensor([0, 1, IGNORE]).view(1, 1, 1, 1, 3), exclusive=True)
        >>> seen.probabilities[0, 1].flatten().tolist(), seen.one_hot[0, 1].flatten().tolist()
        ([0.5, 0.5, 0.5], [0.0, 1.0, 0.0])
        >>> seen.mask.flatten().tolist()
        [1.0, 1.0, 0.0]
    """

    logits: Tensor
    labels: Tensor
    exclusive: bool
    weights: Tensor | None = None
    prepared: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def known(self) -> Tensor:
        """Which voxels are annotated, ``(batch, 1 or structure, D, H, W)`` bool."""
        return self.labels != IGNORE

    @cached_property
    def mask(self) -> Tensor:
        """`known` as 0 and 1."""
        return self.known.to(self.scores.dtype)

    @cached_property
    def target(self) -> Tensor:
        """Labels as int64, 0 where unannotated."""
        return self.labels.where(self.known, torch.zeros_like(self.labels)).long()

    @cached_property
    def scores(self) -> Tensor:
        """Logits in at least 32 bit."""
        return self.logits if self.logits.dtype == torch.float64 else self.logits.float()

    @cached_property
    def log_p(self) -> Tensor:
        """Logarithm of the probability of every channel."""
        return functional.log_softmax(self.scores, 1) if self.exclusive else functional.logsigmoid(self.scores)

    @cached_property
    def probabilities(self) -> Tensor:
        """Of every channel, by softmax or sigmoid."""
        return self.log_p.exp()

    @cached_property
    def one_hot(self) -> Tensor:
        """Truth of every channel, 0 and 1."""
        if not self.exclusive:
            return self.target.to(self.scores.dtype)
        return functional.one_hot(self.target[:, 0], self.logits.shape[1]).movedim(-1, 1).to(self.scores.dtype)

    @property
    def first(self) -> int:
        """Channel of the first structure."""
        return 1 if self.exclusive else 0

    @cached_property
    def entropies(self) -> Tensor:
        """Cross-entropy of every voxel, ``(batch, 1 or structure, D, H, W)``, without weights; 0 where unannotated."""
        if self.exclusive:
            loss = functional.nll_loss(self.log_p, self.target[:, 0], reduction="none")[:, None]
        else:
            loss = functional.binary_cross_entropy_with_logits(self.scores, self.one_hot, reduction="none")
        return loss * self.mask

    @cached_property
    def voxel_weights(self) -> Tensor:
        """Weight of every voxel in losses by voxel: that of its true class; 0 where unannotated."""
        if self.weights is None:
            return self.mask
        weights = self.weights.to(self.logits.device)
        if self.exclusive:
            return weights[self.target] * self.mask
        return weights.view(1, -1, 1, 1, 1) * self.mask

    def over_structures(self, values: Tensor, present: Tensor) -> Tensor:
        """Weighted mean over structures that are there.

        Args:
            values: ``(structure,)``.
            present: ``(structure,)`` bool.
        """
        weights = torch.ones_like(values) if self.weights is None else self.weights[self.first :].to(values)
        weights = weights * present
        return (torch.where(present, values, torch.zeros_like(values)) * weights).sum() / weights.sum().clamp_min(1e-6)
