"""Outputs of a network: dense, strided and global heads over the levels of a decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from isocenter.errors import PlanError
from isocenter.networks.blocks import DepthToSpace, convolution
from isocenter.networks.contract import HeadSpec

__all__ = ["AttentionPooling", "GlobalHead", "LevelHeads", "Pooling", "level_of"]

Pooling = Literal["mean", "max", "attention"]


class LevelHeads(nn.ModuleList):
    """A 1x1 convolution for each level that a dense or strided head reads.

    Args:
        head: What the task asks for.
        widths: Channels of the levels, the finest first.
        dimensions: Of the convolutions.
        stem: Factors by which the stem made the finest level coarser than the input; a dense output goes back.
        level: Of a strided head; 0 for a dense one.
    """

    def __init__(
        self, head: HeadSpec, widths: Sequence[int], *, dimensions: int, stem: Sequence[int], level: int
    ) -> None:
        super().__init__()
        self.level = level
        blocks = math.prod(stem)
        for k in range(min(head.levels, len(widths)) if head.kind == "dense" else 1):
            fold = blocks if head.kind == "dense" and k == 0 else 1
            conv: Any = convolution(dimensions, widths[level + k], head.channels * fold, [1] * dimensions)
            nn.init.constant_(conv.bias, head.bias)
            self.append(nn.Sequential(conv, DepthToSpace(stem)) if fold > 1 else conv)


class GlobalHead(nn.Sequential):
    """Dropout and a linear layer on pooled features.

    Args:
        width: Features.
        head: What the task asks for.
    """

    def __init__(self, width: int, head: HeadSpec) -> None:
        linear = nn.Linear(width, head.channels)
        nn.init.constant_(linear.bias, head.bias)
        super().__init__(nn.Dropout(0.2), linear)


class AttentionPooling(nn.Module):
    """Weighted mean of instances, the weights learned: gated attention of multiple-instance learning.

    Instances are slices where slices are apart, else positions of the coarsest level. ``weights`` keeps those of the
    last call: which slices the answer rests on.

    Args:
        width: Features of an instance.
        hidden: Of the attention.

    Reference:
        Ilse et al., *Attention-based deep multiple instance learning*, ICML 2018.

    Example:
        >>> pooling = AttentionPooling(4)
        >>> pooling(torch.ones(2, 7, 4)).shape
        torch.Size([2, 4])
    """

    def __init__(self, width: int, hidden: int = 64) -> None:
        super().__init__()
        self.value = nn.Linear(width, hidden)
        self.gate = nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)  # a constant would not change the softmax

    def weights(self, instances: Tensor) -> Tensor:
        """``(batch, instance)``, summing to one."""
        seen = torch.tanh(self.value(instances)) * torch.sigmoid(self.gate(instances))
        return self.score(seen).squeeze(-1).softmax(1)  # type: ignore[no-any-return]

    def forward(self, instances: Tensor) -> Tensor:
        """``(batch, instance, width)`` to ``(batch, width)``."""
        return (self.weights(instances).unsqueeze(-1) * instances).sum(1)


def level_of(stride: int, steps: Sequence[Sequence[int]]) -> int:
    """Level whose columns are ``stride`` input voxels apart.

    Args:
        stride: Of a strided head.
        steps: Input voxels a step of each level, by axis.

    Raises:
        PlanError: There is none.
    """
    for level, step in enumerate(steps):
        if step[-1] == stride:
            return level
    raise PlanError(
        f"network: no stage of stride {stride} for a strided head; change network.options.strides or the task"
    )
