"""Attention of convolutional networks: squeeze-and-excitation, and gates on skip connections.

Weights of channels are read from the features *before* they are normalised: after an instance norm every channel has
the same mean, and squeezing would tell nothing.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from isocenter.networks.blocks.convolution import convolution

__all__ = ["AttentionGate", "ChannelSqueeze", "ConcurrentSqueeze", "SpatialSqueeze", "Squeeze", "squeeze_layer"]

Squeeze = Literal["none", "channel", "spatial", "both"]


class ChannelSqueeze(nn.Module):
    """Weighs channels by what they hold on average: squeeze-and-excitation.

    Args:
        channels: In and out.
        reduction: Of the hidden layer, which keeps at least 4.

    Reference:
        Hu et al., *Squeeze-and-excitation networks*, CVPR 2018.

    Example:
        >>> features = torch.ones(2, 8, 3, 4, 5)
        >>> ChannelSqueeze(8)(features, features).shape
        torch.Size([2, 8, 3, 4, 5])
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(4, channels // reduction)
        self.down, self.up = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor, plain: Tensor) -> Tensor:
        """``x`` weighed by what ``plain``, of the same shape, holds."""
        hidden = functional.leaky_relu(self.down(plain.flatten(2).mean(2)), 0.01)
        weight = torch.sigmoid(self.up(hidden))
        return x * weight.view(*weight.shape, *[1] * (x.ndim - 2))


class SpatialSqueeze(nn.Module):
    """Weighs places by a 1x1 convolution over channels.

    Args:
        dimensions: 2 or 3.
        channels: In and out.

    Reference:
        Roy et al., *Concurrent spatial and channel squeeze & excitation*, MICCAI 2018.
    """

    def __init__(self, dimensions: int, channels: int) -> None:
        super().__init__()
        self.score = convolution(dimensions, channels, 1, [1] * dimensions)

    def forward(self, x: Tensor, plain: Tensor) -> Tensor:
        """``x`` weighed by itself."""
        return x * torch.sigmoid(self.score(x))


class ConcurrentSqueeze(nn.Module):
    """The larger of both (Roy et al. 2018, scSE by element-wise maximum)."""

    def __init__(self, dimensions: int, channels: int) -> None:
        super().__init__()
        self.channel, self.spatial = ChannelSqueeze(channels), SpatialSqueeze(dimensions, channels)

    def forward(self, x: Tensor, plain: Tensor) -> Tensor:
        """As `ChannelSqueeze.forward`."""
        return torch.maximum(self.channel(x, plain), self.spatial(x, plain))


def squeeze_layer(kind: Squeeze, dimensions: int, channels: int) -> nn.Module | None:
    """The layer of an option; ``None`` for ``"none"``."""
    if kind == "channel":
        return ChannelSqueeze(channels)
    if kind == "spatial":
        return SpatialSqueeze(dimensions, channels)
    return ConcurrentSqueeze(dimensions, channels) if kind == "both" else None


class AttentionGate(nn.Module):
    """Keeps of the encoder's features what the coarser level asks for: additive attention, one weight a place.

    Args:
        dimensions: 2 or 3.
        skip: Channels of the encoder's features.
        coarse: Channels of what comes from the coarser level.

    Reference:
        Oktay et al., *Attention U-Net*, MIDL 2018.
    """

    def __init__(self, dimensions: int, skip: int, coarse: int) -> None:
        super().__init__()
        one, inner = [1] * dimensions, max(4, skip // 2)
        self.of_skip = convolution(dimensions, skip, inner, one, bias=False)
        self.of_coarse = convolution(dimensions, coarse, inner, one)
        self.score = convolution(dimensions, inner, 1, one)

    def weights(self, skip: Tensor, coarse: Tensor) -> Tensor:
        """``(batch, 1, ...)`` in 0..1, on the grid of ``skip``."""
        if coarse.shape[2:] != skip.shape[2:]:
            coarse = functional.interpolate(coarse, size=skip.shape[2:], mode="nearest")
        return torch.sigmoid(self.score(torch.relu(self.of_skip(skip) + self.of_coarse(coarse))))

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        """``skip``, weighed."""
        return skip * self.weights(skip, coarse)
