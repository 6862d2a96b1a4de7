"""Light: a U-Net for the latency of a processor without accelerator.

A strided convolution halves every fine axis before anything else is computed, stages are narrow, the decoder adds
rather than concatenates and has one convolution a level, and the heads bring the full resolution back by moving
channels into place. Batch norms and ReLUs fold into the convolutions when the network is compiled or quantised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from isocenter.networks.assembly import EncoderDecoder, Parts
from isocenter.networks.blocks import convolution, dropout_layer, normalisation
from isocenter.networks.contract import HeadSpec, network
from isocenter.networks.stages import Count, SkipDecoder, StageEncoder, StageOptions, Step, check_stages, kernels_of
from isocenter.plan import InputSpec, NetworkSpec, read_options

__all__ = ["LightOptions"]


class LightOptions(StageOptions):
    """Options of ``light`` in a plan, beside those of `StageOptions`.

    Attributes:
        units: Convolutions a stage.
    """

    stem: Step = (2, 2, 2)
    channels: tuple[Count, ...] = (16, 32, 64, 96)
    norm: Literal["batch", "instance", "group"] = "batch"
    units: Count = 2


class _Enlarge(nn.Module):
    """1x1 convolution to fewer channels, then nearest neighbours."""

    def __init__(self, dimensions: int, c_in: int, c_out: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.reduce = convolution(dimensions, c_in, c_out, [1] * dimensions)
        self.stride = [float(s) for s in stride]

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(self.reduce(x), scale_factor=self.stride, mode="nearest")


@network("light", small={"stem": [1, 2, 2], "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "channels": [4, 6, 8]})
def build_light(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> EncoderDecoder:
    """Build from a plan.

    Raises:
        PlanError: Unknown or unfitting options.
    """
    options = read_options(LightOptions, spec.options, where="network.options", owner=spec.name)
    check_stages(options, spec, list(heads.values()))
    d, width = spec.dimensions, options.channels
    stem = list(options.stem[3 - d :])
    strides = [list(s[3 - d :]) for s in options.strides]
    kernels = kernels_of(options, d)

    def unit(c_in: int, c_out: int, kernel: Sequence[int], stride: Sequence[int]) -> nn.Module:
        return nn.Sequential(
            convolution(d, c_in, c_out, kernel, stride, bias=False), normalisation(options.norm, d, c_out),
            nn.ReLU(inplace=True),
        )  # fmt: skip

    def make_stem(c_in: int) -> tuple[nn.Module, int]:
        # an axis that is not halved is a thick one: its slices are left apart
        return unit(c_in, width[0], [3 if s > 1 else 1 for s in stem], stem), width[0]

    def stage(level: int, c_in: int) -> nn.Module:
        drop = options.dropout if level >= len(width) - 2 else 0.0
        more = [unit(width[level], width[level], kernels[level], [1] * d) for _ in range(options.units - 1)]
        return nn.Sequential(unit(c_in, width[level], kernels[level], strides[level]), *more, dropout_layer(d, drop))

    def encoder(c_in: int) -> StageEncoder:
        ins = [c_in, *width[:-1]]
        return StageEncoder([stage(k, ins[k]) for k in range(len(width))], width, strides)

    def decoder(made: StageEncoder, levels: Sequence[int]) -> SkipDecoder:
        return SkipDecoder(
            made, levels, lambda k, c_in, c_out: unit(c_in, c_out, kernels[k], [1] * d), join="add",
            enlarge=lambda k, c_in, c_out: _Enlarge(d, c_in, c_out, strides[k + 1]),
        )  # fmt: skip

    parts = Parts(d, encoder, decoder, stem, make_stem=make_stem, pooling=options.pooling)
    return EncoderDecoder(parts, inputs, heads)
