"""Parts that networks are made of."""

from isocenter.networks.blocks.convolution import (
    DepthToSpace,
    ResidualBlock,
    SpaceToDepth,
    convolution,
    normalisation,
)

__all__ = ["DepthToSpace", "ResidualBlock", "SpaceToDepth", "convolution", "normalisation"]
