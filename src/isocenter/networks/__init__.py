"""Second layer: networks by registered name; the contract they keep is in `isocenter.networks.contract`.

A family is a module that registers builders. Most are made of `Parts` by `EncoderDecoder`.
"""

from isocenter.networks import (  # noqa: F401 they register themselves
    densenet,
    hybrid,
    light,
    measured,
    pseudo3d,
    resnet,
    segresnet,
    swin_unetr,
    unet,
    vnet,
)
from isocenter.networks.assembly import EncoderDecoder, Parts
from isocenter.networks.checking import NetworkReport, check_network
from isocenter.networks.contract import HeadSpec, NetworkBuilder, build_network, network, networks, small_options
from isocenter.networks.ensemble import Ensemble
from isocenter.networks.stages import SkipDecoder, StageEncoder, StageOptions

__all__ = [
    "EncoderDecoder",
    "Ensemble",
    "HeadSpec",
    "NetworkBuilder",
    "NetworkReport",
    "Parts",
    "SkipDecoder",
    "StageEncoder",
    "StageOptions",
    "build_network",
    "check_network",
    "network",
    "networks",
    "small_options",
]
