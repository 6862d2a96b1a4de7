"""Second layer: networks by registered name; the contract they keep is in `isocenter.networks.contract`."""

from isocenter.networks.assembly import EncoderDecoder, Parts
from isocenter.networks.contract import HeadSpec, NetworkBuilder, build_network, network, networks
from isocenter.networks.ensemble import Ensemble
from isocenter.networks.unet import UNetOptions

__all__ = [
    "EncoderDecoder",
    "Ensemble",
    "HeadSpec",
    "NetworkBuilder",
    "Parts",
    "UNetOptions",
    "build_network",
    "network",
    "networks",
]
