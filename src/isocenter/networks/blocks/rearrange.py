"""Blocks of voxels into channels and back: the stem that keeps full resolution while convolutions run coarser."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["DepthToSpace", "SpaceToDepth"]

Sizes = Sequence[int]


class SpaceToDepth(nn.Module):
    """Move blocks of voxels into channels: ``(B, C, n*f, ...)`` to ``(B, C * prod(f), n, ...)`` (Shi et al. 2016)."""

    def __init__(self, factors: Sizes) -> None:
        super().__init__()
        self.factors = tuple(factors)

    def forward(self, x: Tensor) -> Tensor:
        """Sizes must be multiples of the factors."""
        b, c, *size = x.shape
        split = [v for n, f in zip(size, self.factors, strict=True) for v in (n // f, f)]
        d = len(size)
        x = x.reshape(b, c, *split).permute(0, 1, *range(3, 3 + 2 * d, 2), *range(2, 2 + 2 * d, 2))
        return x.reshape(b, -1, *[n // f for n, f in zip(size, self.factors, strict=True)])


class DepthToSpace(nn.Module):
    """Inverse of `SpaceToDepth`."""

    def __init__(self, factors: Sizes) -> None:
        super().__init__()
        self.factors = tuple(factors)
        self.blocks = math.prod(self.factors)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C * prod(f), n, ...)`` to ``(B, C, n*f, ...)``."""
        b, c, *size = x.shape
        d = len(size)
        x = x.reshape(b, c // self.blocks, *self.factors, *size)
        order = [v for a in range(d) for v in (2 + d + a, 2 + a)]
        return x.permute(0, 1, *order).reshape(b, -1, *[n * f for n, f in zip(size, self.factors, strict=True)])
