"""Convolution units for two and three dimensions: plain, residual, bottleneck, pre-activated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

__all__ = [
    "BottleneckBlock",
    "BottleneckDBlock",
    "PlainBlock",
    "PreActivationBlock",
    "ResidualBlock",
    "ResidualDBlock",
    "convolution",
    "dropout_layer",
    "normalisation",
    "transposed",
]

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


def dropout_layer(dimensions: int, share: float) -> nn.Module:
    """Dropout of whole channels; nothing where ``share`` is 0."""
    kind = nn.Dropout3d if dimensions == 3 else nn.Dropout2d
    return kind(share) if share else nn.Identity()


def transposed(dimensions: int, c_in: int, c_out: int, stride: Sizes) -> nn.Module:
    """Transposed convolution that enlarges by ``stride``."""
    kind = nn.ConvTranspose3d if dimensions == 3 else nn.ConvTranspose2d
    return kind(c_in, c_out, tuple(stride), tuple(stride))  # type: ignore[arg-type]


class PlainBlock(nn.Sequential):
    """Convolution, norm, activation, so many times (Ronneberger et al. 2015); the first has the stride.

    Args:
        dimensions: 2 or 3.
        c_in: Channels in.
        c_out: Channels out.
        kernel: Of all convolutions.
        stride: Of the first.
        norm: See `normalisation`.
        dropout: Share of channels that are dropped in training, after the last.
        units: Convolutions.
    """

    def __init__(
        self, dimensions: int, c_in: int, c_out: int, *, kernel: Sizes, stride: Sizes, norm: str, dropout: float = 0.0,
        units: int = 2,
    ) -> None:  # fmt: skip
        parts: list[nn.Module] = []
        for k in range(units):
            one = [1] * dimensions
            parts += [
                convolution(dimensions, c_out if k else c_in, c_out, kernel, one if k else stride, bias=False),
                normalisation(norm, dimensions, c_out),
                nn.LeakyReLU(0.01, inplace=True),
            ]
        super().__init__(*parts, dropout_layer(dimensions, dropout))


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
        squeeze: Weighs channels or places before the shortcut is added; see `isocenter.networks.blocks.attention`.
    """

    pooled: ClassVar[bool] = False

    def __init__(
        self, dimensions: int, c_in: int, c_out: int, *, kernel: Sizes, stride: Sizes, norm: str, dropout: float = 0.0,
        squeeze: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.first = convolution(dimensions, c_in, c_out, kernel, stride, bias=False)
        self.norm1 = normalisation(norm, dimensions, c_out)
        self.second = convolution(dimensions, c_out, c_out, kernel, bias=False)
        self.norm2 = normalisation(norm, dimensions, c_out)
        self.act = nn.LeakyReLU(0.01, inplace=True)
        self.drop = dropout_layer(dimensions, dropout)
        self.squeeze = squeeze
        self.short = _shortcut(dimensions, c_in, c_out, stride, norm, self.pooled)

    def forward(self, x: Tensor) -> Tensor:
        """Same number of dimensions; channels and size as configured."""
        y = self.act(self.norm1(self.first(x)))
        plain = self.second(y)
        y = self.drop(self.norm2(plain))
        y = y if self.squeeze is None else self.squeeze(y, plain)
        return self.act(y + self.short(x))  # type: ignore[no-any-return]


class BottleneckBlock(nn.Module):
    """1x1 to a quarter of the channels, 3x3, 1x1 back, with a shortcut (He et al. 2016).

    Args:
        dimensions: 2 or 3.
        c_in: Channels in.
        c_out: Channels out.
        kernel: Of the middle convolution.
        stride: Of the middle convolution.
        norm: See `normalisation`.
        dropout: Share of channels that are dropped in training.
        squeeze: As in `ResidualBlock`.
    """

    pooled: ClassVar[bool] = False

    def __init__(
        self, dimensions: int, c_in: int, c_out: int, *, kernel: Sizes, stride: Sizes, norm: str, dropout: float = 0.0,
        squeeze: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        inner, one = max(4, c_out // 4), [1] * dimensions
        self.body = nn.Sequential(
            convolution(dimensions, c_in, inner, one, bias=False), normalisation(norm, dimensions, inner),
            nn.LeakyReLU(0.01, inplace=True),
            convolution(dimensions, inner, inner, kernel, stride, bias=False), normalisation(norm, dimensions, inner),
            nn.LeakyReLU(0.01, inplace=True),
            convolution(dimensions, inner, c_out, one, bias=False),
        )  # fmt: skip
        self.norm, self.drop = normalisation(norm, dimensions, c_out), dropout_layer(dimensions, dropout)
        self.squeeze = squeeze
        self.act = nn.LeakyReLU(0.01, inplace=True)
        self.short = _shortcut(dimensions, c_in, c_out, stride, norm, self.pooled)

    def forward(self, x: Tensor) -> Tensor:
        """As `ResidualBlock`."""
        plain = self.body(x)
        y = self.drop(self.norm(plain))
        y = y if self.squeeze is None else self.squeeze(y, plain)
        return self.act(y + self.short(x))  # type: ignore[no-any-return]


class ResidualDBlock(ResidualBlock):
    """`ResidualBlock` whose shortcut to a coarser grid takes means rather than one voxel of many (ResNet-D).

    Reference:
        He et al., *Bag of tricks for image classification with convolutional neural networks*, CVPR 2019.
    """

    pooled = True


class BottleneckDBlock(BottleneckBlock):
    """`BottleneckBlock` with the shortcut of `ResidualDBlock`."""

    pooled = True


class PreActivationBlock(nn.Module):
    """Norm and activation before each of two convolutions, identity beside them (He et al. 2016b; Myronenko 2018).

    Args:
        dimensions: 2 or 3.
        channels: In and out.
        kernel: Of both convolutions.
        norm: See `normalisation`.
    """

    def __init__(self, dimensions: int, channels: int, *, kernel: Sizes, norm: str) -> None:
        super().__init__()
        self.norm1 = normalisation(norm, dimensions, channels)
        self.norm2 = normalisation(norm, dimensions, channels)
        self.first = convolution(dimensions, channels, channels, kernel, bias=False)
        self.second = convolution(dimensions, channels, channels, kernel, bias=False)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        y = self.first(self.act(self.norm1(x)))
        return x + self.second(self.act(self.norm2(y)))  # type: ignore[no-any-return]


def _shortcut(dimensions: int, c_in: int, c_out: int, stride: Sizes, norm: str, pooled: bool) -> nn.Module:
    coarser = any(s > 1 for s in stride)
    if c_in == c_out and not coarser:
        return nn.Identity()
    one = [1] * dimensions
    parts: list[nn.Module] = []
    if pooled and coarser:
        kind = nn.AvgPool3d if dimensions == 3 else nn.AvgPool2d
        parts.append(kind(tuple(stride)))  # type: ignore[arg-type]
    if c_in != c_out or not pooled:
        parts.append(convolution(dimensions, c_in, c_out, one, one if pooled else stride, bias=False))
        parts.append(normalisation(norm, dimensions, c_out))
    return nn.Sequential(*parts)
