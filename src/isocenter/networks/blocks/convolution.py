"""Convolution units for two and three dimensions, and the space-to-depth stem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["DepthToSpace", "ResidualBlock", "SpaceToDepth", "convolution", "normalisation"]

Sizes = Sequence[int]


def convolution(
    dimensions: int, c_in: int, c_out: int, kernel: Sizes, stride: Sizes | None = None, **kwargs: Any
) -> nn.Module:
    """Convolution of 2 or 3 dimensions that keeps the size for stride 1."""
    kind = nn.Conv3d if dimensions == 3 else nn.Conv2d
    return kind(c_in, c_out, tuple(kernel), tuple(stride or [1] * dimensions), tuple(k // 2 for k in kernel), **kwargs)  # type: ignore[arg-type]


def normalisation(name: str, dimensions: int, channels: int) -> nn.Module:
    """``"batch"`` (fast, needs several patches a step), ``"instance"`` or ``"group"`` (any batch)."""
    if name == "batch":
        return nn.BatchNorm3d(channels) if dimensions == 3 else nn.BatchNorm2d(channels)
    if name == "instance":
        kind = nn.InstanceNorm3d if dimensions == 3 else nn.InstanceNorm2d
        return kind(channels, affine=True)
    return nn.GroupNorm(math.gcd(8, channels), channels)


class ResidualBlock(nn.Module):
    """Two convolutions with a shortcut (He et al. 2016); the shortcut is 1x1 where channels or size change.

    Args:
        dimensions: 2 or 3.
        c_in: Channels in.
        c_out: Channels out.
        kernel: Of both convolutions.
        stride: Of the first.
        norm: See `normalisation`.
        dropout: Share of channels that are dropped in training.
    """

    def __init__(
        self, dimensions: int, c_in: int, c_out: int, *, kernel: Sizes, stride: Sizes, norm: str, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.first = convolution(dimensions, c_in, c_out, kernel, stride, bias=False)
        self.norm1 = normalisation(norm, dimensions, c_out)
        self.second = convolution(dimensions, c_out, c_out, kernel, bias=False)
        self.norm2 = normalisation(norm, dimensions, c_out)
        self.act = nn.LeakyReLU(0.01, inplace=True)
        drop = nn.Dropout3d if dimensions == 3 else nn.Dropout2d
        self.drop = drop(dropout) if dropout else nn.Identity()
        self.short: nn.Module = nn.Identity()
        if c_in != c_out or any(s != 1 for s in stride):
            one = [1] * dimensions
            self.short = nn.Sequential(
                convolution(dimensions, c_in, c_out, one, stride, bias=False), normalisation(norm, dimensions, c_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Same number of dimensions; channels and size as configured."""
        y = self.act(self.norm1(self.first(x)))
        y = self.drop(self.norm2(self.second(y)))
        return self.act(y + self.short(x))  # type: ignore[no-any-return]


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
        self.blocks = int(torch.tensor(self.factors).prod())

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C * prod(f), n, ...)`` to ``(B, C, n*f, ...)``."""
        b, c, *size = x.shape
        d = len(size)
        x = x.reshape(b, c // self.blocks, *self.factors, *size)
        order = [v for a in range(d) for v in (2 + d + a, 2 + a)]
        return x.permute(0, 1, *order).reshape(b, -1, *[n * f for n, f in zip(size, self.factors, strict=True)])
