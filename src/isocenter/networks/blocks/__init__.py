"""Parts that networks are made of."""

from isocenter.networks.blocks.attention import (
    AttentionGate,
    ChannelSqueeze,
    ConcurrentSqueeze,
    SpatialSqueeze,
    Squeeze,
    squeeze_layer,
)
from isocenter.networks.blocks.convolution import (
    BottleneckBlock,
    BottleneckDBlock,
    PlainBlock,
    PreActivationBlock,
    ResidualBlock,
    ResidualDBlock,
    convolution,
    dropout_layer,
    normalisation,
    transposed,
)
from isocenter.networks.blocks.dropout import dropout_active, dropout_layers
from isocenter.networks.blocks.rearrange import DepthToSpace, SpaceToDepth
from isocenter.networks.blocks.recurrent import ConvGRU, ConvLSTM, SliceRecurrence
from isocenter.networks.blocks.selfattention import GlobalLocalBlock, WindowAttention

__all__ = [
    "AttentionGate",
    "BottleneckBlock",
    "BottleneckDBlock",
    "ChannelSqueeze",
    "ConcurrentSqueeze",
    "ConvGRU",
    "ConvLSTM",
    "DepthToSpace",
    "GlobalLocalBlock",
    "PlainBlock",
    "PreActivationBlock",
    "ResidualBlock",
    "ResidualDBlock",
    "SliceRecurrence",
    "SpaceToDepth",
    "SpatialSqueeze",
    "Squeeze",
    "WindowAttention",
    "convolution",
    "dropout_active",
    "dropout_layer",
    "dropout_layers",
    "normalisation",
    "squeeze_layer",
    "transposed",
]
