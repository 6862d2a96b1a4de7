"""U-Nets in two or three dimensions, with dense, strided and global heads.

``unet`` has residual or plain units (Ronneberger et al. 2015; He et al. 2016). The stem may move blocks of 2x2 voxels
into channels and the heads move them back: the full resolution is kept in the data while the convolutions run on a
quarter of the positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from isocenter.networks.assembly import EncoderDecoder, Parts
from isocenter.networks.blocks import ResidualBlock
from isocenter.networks.contract import HeadSpec, network
from isocenter.networks.stages import SkipDecoder, StageEncoder, StageOptions, check_stages, kernels_of
from isocenter.plan import InputSpec, NetworkSpec, read_options

__all__ = ["UNetOptions"]


class UNetOptions(StageOptions):
    """Options of ``unet`` in a plan: those of `StageOptions`."""


@network("unet")
def build_unet(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> EncoderDecoder:
    """Build from a plan.

    Raises:
        PlanError: Unknown or unfitting options.
    """
    options = read_options(UNetOptions, spec.options, where="network.options", owner=spec.name)
    check_stages(options, spec, list(heads.values()))
    d, width = spec.dimensions, options.channels
    strides = [list(s[3 - d :]) for s in options.strides]
    kernels = kernels_of(strides)

    def stage(level: int, c_in: int, c_out: int, stride: Sequence[int], dropout: float = 0.0) -> nn.Module:
        return ResidualBlock(
            d, c_in, c_out, kernel=kernels[level], stride=stride, norm=options.norm, dropout=dropout
        )  # fmt: skip

    def encoder(c_in: int) -> StageEncoder:
        ins = [c_in, *width[:-1]]
        drop = [options.dropout if k >= len(width) - 2 else 0.0 for k in range(len(width))]
        return StageEncoder(
            [stage(k, ins[k], width[k], strides[k], drop[k]) for k in range(len(width))], width, strides
        )  # fmt: skip

    def decoder(made: StageEncoder, depth: int) -> SkipDecoder:
        return SkipDecoder(made, depth, lambda k, c_in, c_out: stage(k, c_in, c_out, [1] * d))

    parts = Parts(d, encoder, decoder, options.stem[3 - d :], pooling=options.pooling)
    return EncoderDecoder(parts, inputs, heads)
