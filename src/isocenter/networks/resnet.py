"""Residual networks as classifiers: a row of residual stages, pooled, and a linear layer (He et al. 2016).

``se-resnet`` weighs the channels (or places) of every unit by squeeze-and-excitation (Hu et al. 2018). A decoder is
built only where a head is dense or strided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from isocenter.errors import PlanError
from isocenter.networks.assembly import EncoderDecoder
from isocenter.networks.blocks import Squeeze
from isocenter.networks.contract import HeadSpec, network
from isocenter.networks.stages import Units
from isocenter.networks.unet import SMALL, UNetOptions, build_staged
from isocenter.plan import InputSpec, NetworkSpec, read_options

__all__ = ["ResNetOptions", "SEResNetOptions"]

Depth = Literal[10, 18, 34, 50]
UNITS: Mapping[Depth, tuple[int, ...]] = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class ResNetOptions(UNetOptions):
    """Options of ``resnet`` in a plan, beside those of `isocenter.networks.unet.UNetOptions`.

    Attributes:
        depth: Units of each stage as in ResNet-10, -18, -34 or -50 (whose units are bottlenecks), after a convolution
            that reads the images; further stages have as many as the last. ``unit``, ``units`` and ``entry`` say it
            one by one. Channels are those that a stage gives: ResNet-18 has 64, 128, 256, 512, ResNet-50 four times
            as many.
    """

    units: Units = 2
    depth: Depth | None = None


class SEResNetOptions(ResNetOptions):
    """Options of ``se-resnet``: those of `ResNetOptions`, squeezed unless a plan says how."""

    squeeze: Squeeze = "channel"


def _build(
    kind: type[ResNetOptions], spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]
) -> EncoderDecoder:
    options = read_options(kind, spec.options, where="network.options", owner=spec.name)
    if options.depth is not None:
        twice = sorted({"unit", "units", "entry"} & options.model_fields_set)
        if twice:
            raise PlanError(f"network.options.{twice[0]}: depth {options.depth} says it already; leave out one of them")
        unit = "bottleneck" if options.depth >= 50 else "residual"
        said = {"unit": unit, "units": UNITS[options.depth], "entry": "convolution"}
        options = options.model_copy(update=said)
    return build_staged(options, spec, inputs, heads)


@network("resnet", small={**SMALL, "units": [1, 2, 1]})
def build_resnet(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> EncoderDecoder:
    """Build from a plan.

    Raises:
        PlanError: Unknown or unfitting options.

    Example:
        >>> from isocenter.networks import build_network
        >>> spec = NetworkSpec(name="resnet", dimensions=2, options={"depth": 18, "channels": [64, 128, 256, 512]})
        >>> net = build_network(spec, [InputSpec(name="xray")], {"finding": HeadSpec("global", 14)})
        >>> f"{sum(p.numel() for p in net.parameters()) / 1e6:.1f} million"
        '11.2 million'
    """
    return _build(ResNetOptions, spec, inputs, heads)


@network("se-resnet", small={**SMALL, "units": [1, 2, 1]})
def build_se_resnet(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> EncoderDecoder:
    """As `build_resnet`."""
    return _build(SEResNetOptions, spec, inputs, heads)
