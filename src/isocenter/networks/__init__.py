"""Second layer: networks by registered name; the contract they keep is in `isocenter.networks.contract`."""

from isocenter.networks.contract import HeadSpec, NetworkBuilder, build_network, network, networks
from isocenter.networks.ensemble import Ensemble
from isocenter.networks.unet import UNet, UNetOptions

__all__ = ["Ensemble", "HeadSpec", "NetworkBuilder", "UNet", "UNetOptions", "build_network", "network", "networks"]
