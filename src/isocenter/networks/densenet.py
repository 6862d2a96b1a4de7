"""DenseNet: every layer sees all earlier ones of its stage (Huang et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from isocenter.networks.assembly import EncoderDecoder, Parts
from isocenter.networks.blocks import ResidualBlock, convolution, dropout_layer, normalisation
from isocenter.networks.contract import HeadSpec, network
from isocenter.networks.stages import (
    Count,
    SkipDecoder,
    StageEncoder,
    StageOptions,
    Units,
    check_stages,
    kernels_of,
    units_of,
)
from isocenter.plan import InputSpec, NetworkSpec, read_options

__all__ = ["DenseNetOptions"]


class DenseNetOptions(StageOptions):
    """Options of ``densenet`` in a plan, beside those of `StageOptions`.

    ``channels`` are what each stage begins with; its layers add ``growth`` channels each.

    Attributes:
        units: Layers of each stage; the last number holds for further stages. DenseNet-121 has 6, 12, 24, 16.
        growth: Channels that a layer adds.
    """

    norm: Literal["batch", "instance", "group"] = "batch"
    units: Units = (4, 4, 6, 6)
    growth: Count = 16


class _Layer(nn.Module):
    """Norm, activation, 1x1, norm, activation, 3x3; what comes out stands beside what went in."""

    def __init__(self, dimensions: int, c_in: int, growth: int, kernel: Sequence[int], norm: str, drop: float) -> None:
        super().__init__()
        inner, one = 4 * growth, [1] * dimensions
        self.body = nn.Sequential(
            normalisation(norm, dimensions, c_in), nn.ReLU(inplace=True),
            convolution(dimensions, c_in, inner, one, bias=False),
            normalisation(norm, dimensions, inner), nn.ReLU(inplace=True),
            convolution(dimensions, inner, growth, kernel, bias=False), dropout_layer(dimensions, drop),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


class _Transition(nn.Module):
    """Fewer channels, then a mean over as many voxels as the stride."""

    def __init__(self, dimensions: int, c_in: int, c_out: int, stride: Sequence[int], norm: str) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            normalisation(norm, dimensions, c_in), nn.ReLU(inplace=True),
            convolution(dimensions, c_in, c_out, [1] * dimensions, bias=False),
        )  # fmt: skip
        self.stride = tuple(stride)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        if max(self.stride) == 1:
            return x
        pool = functional.avg_pool3d if x.ndim == 5 else functional.avg_pool2d
        return pool(x, self.stride)


@network(
    "densenet",
    small={"strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "channels": [4, 6, 8], "units": [1, 2], "growth": 4,
           "norm": "group"},
)  # fmt: skip
def build_densenet(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> EncoderDecoder:
    """Build from a plan.

    Raises:
        PlanError: Unknown or unfitting options.
    """
    options = read_options(DenseNetOptions, spec.options, where="network.options", owner=spec.name)
    check_stages(options, spec, list(heads.values()))
    d, growth, norm = spec.dimensions, options.growth, options.norm
    strides = [list(s[3 - d :]) for s in options.strides]
    kernels = kernels_of(options, d)
    units = [units_of(options.units, k) for k in range(len(strides))]
    width = [begin + n * growth for begin, n in zip(options.channels, units, strict=True)]

    def stage(level: int, c_in: int) -> nn.Module:
        begin, last = options.channels[level], level == len(width) - 1
        drop = options.dropout if level >= len(width) - 2 else 0.0
        enter: nn.Module = (
            _Transition(d, c_in, begin, strides[level], norm)
            if level
            else convolution(d, c_in, begin, kernels[0], strides[0], bias=False)
        )
        layers = [_Layer(d, begin + n * growth, growth, kernels[level], norm, drop) for n in range(units[level])]
        finish = [normalisation(norm, d, width[level]), nn.ReLU(inplace=True)] if last else []
        return nn.Sequential(enter, *layers, *finish)

    def encoder(c_in: int) -> StageEncoder:
        ins = [c_in, *width[:-1]]
        return StageEncoder([stage(k, ins[k]) for k in range(len(width))], width, strides)

    def decoder(made: StageEncoder, levels: Sequence[int]) -> SkipDecoder:
        def up(level: int, c_in: int, c_out: int) -> nn.Module:
            return ResidualBlock(d, c_in, c_out, kernel=kernels[level], stride=[1] * d, norm=norm)

        return SkipDecoder(made, levels, up)

    parts = Parts(d, encoder, decoder, options.stem[3 - d :], pooling=options.pooling)
    return EncoderDecoder(parts, inputs, heads)
