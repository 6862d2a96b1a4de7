"""Hybrid: 2.5-D convolutions where the image is fine, 3-D attention where it is coarse, a convolutional decoder.

A shallow stage looks at three adjacent slices and then within the slice. A deep stage attends over local windows plus
global tokens (`isocenter.networks.blocks.selfattention`), whose memory is linear in voxels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from isocenter.errors import PlanError
from isocenter.networks.assembly import EncoderDecoder, Parts
from isocenter.networks.blocks import GlobalLocalBlock, ResidualBlock, convolution, dropout_layer, normalisation
from isocenter.networks.contract import HeadSpec, network
from isocenter.networks.stages import (
    Count,
    SkipDecoder,
    StageEncoder,
    StageOptions,
    Step,
    check_stages,
    kernels_of,
)
from isocenter.plan import InputSpec, NetworkSpec, read_options

__all__ = ["HybridOptions"]


class HybridOptions(StageOptions):
    """Options of ``hybrid`` in a plan, beside those of `StageOptions`.

    Attributes:
        attention_stages: Coarsest stages that attend; the others convolve.
        attention_units: Attention blocks of each such stage.
        attention_heads: Of each block; channels of those stages are a multiple of it.
        window: Edge of an attention window along slice, row and column, in voxels of the stage.
        tokens: Global tokens.
    """

    attention_stages: Count = 2
    attention_units: Count = 2
    attention_heads: Count = 4
    window: Step = (4, 8, 8)
    tokens: int = Field(default=8, ge=0, le=256)


class _AdjacentSlices(nn.Module):
    """A convolution over three adjacent slices and one within the slice, with a shortcut."""

    def __init__(self, dimensions: int, c_in: int, c_out: int, stride: Sequence[int], norm: str) -> None:
        super().__init__()
        flat = [1, 3, 3] if dimensions == 3 else [3, 3]
        self.first = convolution(dimensions, c_in, c_out, [3] * dimensions, stride, bias=False)
        self.norm1 = normalisation(norm, dimensions, c_out)
        self.second = convolution(dimensions, c_out, c_out, flat, bias=False)
        self.norm2 = normalisation(norm, dimensions, c_out)
        self.short = convolution(dimensions, c_in, c_out, [1] * dimensions, stride, bias=False)
        self.act = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.first(x)))
        return self.act(self.norm2(self.second(y)) + self.short(x))  # type: ignore[no-any-return]


class _Attending(nn.Module):
    """A convolution to the stage's channels and size, then attention blocks."""

    def __init__(self, dimensions: int, c_in: int, c_out: int, stride: Sequence[int], options: HybridOptions) -> None:
        super().__init__()
        self.enter = nn.Sequential(
            convolution(dimensions, c_in, c_out, [3] * dimensions, stride, bias=False),
            normalisation(options.norm, dimensions, c_out),
        )
        window = options.window[3 - dimensions :]
        self.blocks = nn.ModuleList(
            [
                GlobalLocalBlock(
                    dimensions, c_out, heads=options.attention_heads, window=window, dropout=options.dropout
                )
                for _ in range(options.attention_units)
            ]
        )  # fmt: skip
        self.tokens = nn.Parameter(0.02 * torch.randn(options.tokens, c_out)) if options.tokens else None
        self.finish = nn.Sequential(normalisation(options.norm, dimensions, c_out), nn.LeakyReLU(0.01))
        self.drop = dropout_layer(dimensions, options.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        tokens = x.new_zeros(len(x), 0, x.shape[1]) if self.tokens is None else self.tokens.expand(len(x), -1, -1)
        for block in self.blocks:
            x, tokens = block(x, tokens)
        return self.drop(self.finish(x))  # type: ignore[no-any-return]


@network(
    "hybrid",
    small={"strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "channels": [4, 8, 8], "norm": "group", "attention_heads": 2,
           "attention_stages": 1, "attention_units": 2, "window": [2, 4, 4], "tokens": 3},
)  # fmt: skip
def build_hybrid(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> EncoderDecoder:
    """Build from a plan.

    Raises:
        PlanError: Unknown or unfitting options.
    """
    options = read_options(HybridOptions, spec.options, where="network.options", owner=spec.name)
    check_stages(options, spec, list(heads.values()))
    d, width = spec.dimensions, options.channels
    deep = len(width) - min(options.attention_stages, len(width) - 1)
    for channels in width[deep:]:
        if channels % options.attention_heads:
            raise PlanError(
                f"network.options.channels: {channels} is no multiple of the {options.attention_heads} attention heads;"
                " change either"
            )
    strides = [list(s[3 - d :]) for s in options.strides]
    kernels = kernels_of(options, d)

    def stage(level: int, c_in: int) -> nn.Module:
        if level >= deep:
            return _Attending(d, c_in, width[level], strides[level], options)
        return _AdjacentSlices(d, c_in, width[level], strides[level], options.norm)

    def encoder(c_in: int) -> StageEncoder:
        ins = [c_in, *width[:-1]]
        return StageEncoder([stage(k, ins[k]) for k in range(len(width))], width, strides)

    def decoder(made: StageEncoder, levels: Sequence[int]) -> SkipDecoder:
        def up(level: int, c_in: int, c_out: int) -> nn.Module:
            return ResidualBlock(d, c_in, c_out, kernel=kernels[level], stride=[1] * d, norm=options.norm)

        return SkipDecoder(made, levels, up)

    parts = Parts(d, encoder, decoder, options.stem[3 - d :], pooling=options.pooling)
    return EncoderDecoder(parts, inputs, heads)
