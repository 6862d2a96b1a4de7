"""U-Nets in two or three dimensions, with dense, strided and global heads.

One builder makes the family from a few decisions: which units, how many of them a stage, whether skips are gated, how
the decoder enlarges. The registered names differ in their defaults:

- ``unet``: residual units, one a stage (Ronneberger et al. 2015; He et al. 2016). Options make plain ones of them.
- ``residual-unet``: a deep residual encoder and a light decoder: the network of nnU-Net's residual-encoder presets
  (Isensee et al. 2024, *nnU-Net revisited*), parameter for parameter but for the biases before norms, which do nothing.
- ``attention-unet``: gates on the skip connections (Oktay et al. 2018).

`isocenter.networks.resnet` makes classifiers of the same encoder.

The stem may move blocks of 2x2 voxels into channels and the heads move them back: the full resolution is kept in the
data while the convolutions run on a quarter of the positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from isocenter.errors import PlanError
from isocenter.networks.assembly import EncoderDecoder, Parts
from isocenter.networks.blocks import (
    AttentionGate,
    BottleneckBlock,
    BottleneckDBlock,
    PlainBlock,
    ResidualBlock,
    ResidualDBlock,
    Squeeze,
    squeeze_layer,
    transposed,
)
from isocenter.networks.contract import HeadSpec, network
from isocenter.networks.stages import SkipDecoder, StageEncoder, StageOptions, Units, check_stages, kernels_of, units_of
from isocenter.plan import InputSpec, NetworkSpec, read_options

__all__ = ["SMALL", "ResidualUNetOptions", "UNetOptions", "build_staged"]

SMALL: Mapping[str, Any] = {"strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "channels": [4, 6, 8], "norm": "group"}
"""Options of an instance that computes fast."""
BLOCKS: Mapping[tuple[str, str], Callable[..., nn.Module]] = {
    ("residual", "strided"): ResidualBlock,
    ("residual", "pooled"): ResidualDBlock,
    ("bottleneck", "strided"): BottleneckBlock,
    ("bottleneck", "pooled"): BottleneckDBlock,
}


class UNetOptions(StageOptions):
    """Options of ``unet`` and ``attention-unet`` in a plan, beside those of `StageOptions`.

    Attributes:
        unit: ``"residual"``, ``"bottleneck"`` or ``"plain"``.
        units: A stage, one number for all or one for each; the last holds for further stages.
        decoder_units: Of the decoder, a stage: ``"same"`` for one of the encoder's, ``"light"`` for one convolution.
        entry: What reads the images: the first ``"unit"`` itself, or a ``"convolution"`` before it.
        shortcut: Of residual units to a coarser grid: a ``"strided"`` convolution, or means (``"pooled"``), which look
            at every voxel (He et al. 2019).
        squeeze: Squeeze-and-excitation of every residual unit: by ``"channel"``, ``"spatial"`` or ``"both"``.
        enlarge: ``"nearest"`` neighbours, or a ``"transposed"`` convolution.
    """

    unit: Literal["residual", "bottleneck", "plain"] = "residual"
    units: Units = 1
    decoder_units: Literal["same", "light"] = "same"
    entry: Literal["unit", "convolution"] = "unit"
    shortcut: Literal["strided", "pooled"] = "strided"
    squeeze: Squeeze = "none"
    enlarge: Literal["nearest", "transposed"] = "nearest"


class ResidualUNetOptions(UNetOptions):
    """Options of ``residual-unet``: those of `UNetOptions`, with the defaults of nnU-Net's residual encoders."""

    units: Units = (1, 3, 4, 6, 6, 6)
    decoder_units: Literal["same", "light"] = "light"
    entry: Literal["unit", "convolution"] = "convolution"
    shortcut: Literal["strided", "pooled"] = "pooled"
    enlarge: Literal["nearest", "transposed"] = "transposed"


@dataclass(frozen=True)
class _Builder:
    """Stages of one network."""

    options: UNetOptions
    dimensions: int
    strides: Sequence[Sequence[int]]
    kernels: Sequence[Sequence[int]]

    def block(self, level: int, c_in: int, c_out: int, stride: Sequence[int], dropout: float = 0.0) -> nn.Module:
        d, o = self.dimensions, self.options
        kernel = self.kernels[level]
        if o.unit == "plain":
            return PlainBlock(d, c_in, c_out, kernel=kernel, stride=stride, norm=o.norm, dropout=dropout)
        kind = BLOCKS[o.unit, o.shortcut]
        squeeze = squeeze_layer(o.squeeze, d, c_out)
        return kind(d, c_in, c_out, kernel=kernel, stride=stride, norm=o.norm, dropout=dropout, squeeze=squeeze)

    def stage(self, level: int, c_in: int, c_out: int) -> nn.Module:
        drop = self.options.dropout if level >= len(self.strides) - 2 else 0.0
        parts = []
        if level == 0 and self.options.entry == "convolution":
            width = max(4, c_out // 4) if self.options.unit == "bottleneck" else c_out
            parts.append(self.convolution(0, c_in, width))
            c_in = width
        parts.append(self.block(level, c_in, c_out, self.strides[level], drop))
        one = [1] * self.dimensions
        parts += [self.block(level, c_out, c_out, one, drop) for _ in range(units_of(self.options.units, level) - 1)]
        return nn.Sequential(*parts) if len(parts) > 1 else parts[0]

    def convolution(self, level: int, c_in: int, c_out: int) -> nn.Module:
        kernel, one, norm = self.kernels[level], [1] * self.dimensions, self.options.norm
        return PlainBlock(self.dimensions, c_in, c_out, kernel=kernel, stride=one, norm=norm, units=1)

    def encoder(self, c_in: int) -> StageEncoder:
        width = self.options.channels
        ins = [c_in, *width[:-1]]
        return StageEncoder([self.stage(k, ins[k], width[k]) for k in range(len(width))], width, self.strides)

    def up(self, level: int, c_in: int, c_out: int) -> nn.Module:
        if self.options.decoder_units == "same":
            return self.block(level, c_in, c_out, [1] * self.dimensions)
        return self.convolution(level, c_in, c_out)

    def enlarge(self, level: int, c_in: int, c_out: int) -> nn.Module:
        return transposed(self.dimensions, c_in, c_out, self.strides[level + 1])


def build_staged(
    options: UNetOptions, spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec], *,
    gated: bool = False,
) -> EncoderDecoder:  # fmt: skip
    """Build from options.

    Args:
        options: Of the network.
        spec: Of the plan.
        inputs: Of the plan.
        heads: Of the task.
        gated: Attention gates on the skips.

    Raises:
        PlanError: Options that do not fit each other or the heads.
    """
    if options.unit == "plain":
        for key, value, none in (("squeeze", options.squeeze, "none"), ("shortcut", options.shortcut, "strided")):
            if value != none:
                raise PlanError(
                    f"network.options.{key}: {value!r} is of residual units and unit is 'plain'; leave {none!r}"
                )
    check_stages(options, spec, list(heads.values()))
    d = spec.dimensions
    strides = [list(s[3 - d :]) for s in options.strides]
    build = _Builder(options, d, strides, kernels_of(options, d))

    def decoder(made: StageEncoder, levels: Sequence[int]) -> SkipDecoder:
        return SkipDecoder(
            made, levels, build.up, enlarge=build.enlarge if options.enlarge == "transposed" else None,
            gate=(lambda level, skip, coarse: AttentionGate(d, skip, coarse)) if gated else None,
        )  # fmt: skip

    parts = Parts(d, build.encoder, decoder, options.stem[3 - d :], pooling=options.pooling)
    return EncoderDecoder(parts, inputs, heads)


@network("unet", small=SMALL)
def build_unet(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> EncoderDecoder:
    """Build from a plan.

    Raises:
        PlanError: Unknown or unfitting options.
    """
    return build_staged(_read(UNetOptions, spec), spec, inputs, heads)


@network("residual-unet", small={**SMALL, "units": [1, 2, 1]})
def build_residual_unet(
    spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]
) -> EncoderDecoder:
    """As `build_unet`."""
    return build_staged(_read(ResidualUNetOptions, spec), spec, inputs, heads)


@network("attention-unet", small=SMALL)
def build_attention_unet(
    spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]
) -> EncoderDecoder:
    """As `build_unet`."""
    return build_staged(_read(UNetOptions, spec), spec, inputs, heads, gated=True)


def _read(kind: type[UNetOptions], spec: NetworkSpec) -> UNetOptions:
    return read_options(kind, spec.options, where="network.options", owner=spec.name)
