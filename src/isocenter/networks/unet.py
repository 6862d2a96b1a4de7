"""U-Nets in two or three dimensions, with dense, strided and global heads.

One builder makes the family from a few decisions: which units, how many of them a stage, whether skips are gated, how
the decoder enlarges. The registered names differ in their defaults:

- ``unet``: residual units, one a stage (Ronneberger et al. 2015; He et al. 2016). Options make plain ones of them.
- ``residual-unet``: a deep residual encoder and a light decoder, as nnU-Net's residual-encoder presets (Isensee et al.
  2024, *nnU-Net revisited*).
- ``attention-unet``: gates on the skip connections (Oktay et al. 2018).
- ``resnet``, ``se-resnet``: the same encoder as a classifier, without and with squeeze-and-excitation (He et al. 2016;
  Hu et al. 2018); its decoder is built only where a head is dense or strided.

The stem may move blocks of 2x2 voxels into channels and the heads move them back: the full resolution is kept in the
data while the convolutions run on a quarter of the positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from isocenter.errors import PlanError
from isocenter.networks.assembly import EncoderDecoder, Parts
from isocenter.networks.blocks import (
    AttentionGate,
    BottleneckBlock,
    PlainBlock,
    ResidualBlock,
    Squeeze,
    squeeze_layer,
    transposed,
)
from isocenter.networks.contract import HeadSpec, network
from isocenter.networks.stages import Count, SkipDecoder, StageEncoder, StageOptions, check_stages, kernels_of
from isocenter.plan import InputSpec, NetworkSpec, read_options

__all__ = ["ResNetOptions", "ResidualUNetOptions", "UNetOptions"]

SMALL = {"strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "channels": [4, 6, 8], "norm": "group"}


class UNetOptions(StageOptions):
    """Options of ``unet`` and ``attention-unet`` in a plan, beside those of `StageOptions`.

    Attributes:
        unit: ``"residual"``, ``"bottleneck"`` or ``"plain"``.
        units: A stage, one number for all or one for each.
        decoder_units: Of the decoder, a stage: ``"same"`` for one of the encoder's, ``"light"`` for one convolution.
        squeeze: Squeeze-and-excitation of every residual unit: by ``"channel"``, ``"spatial"`` or ``"both"``.
        enlarge: ``"nearest"`` neighbours, or a ``"transposed"`` convolution.
    """

    unit: Literal["residual", "bottleneck", "plain"] = "residual"
    units: Count | tuple[Count, ...] = 1
    decoder_units: Literal["same", "light"] = "same"
    squeeze: Squeeze = "none"
    enlarge: Literal["nearest", "transposed"] = "nearest"

    def units_of(self, stage: int) -> int:
        """Of a stage; the last number holds for further stages."""
        return self.units if isinstance(self.units, int) else self.units[min(stage, len(self.units) - 1)]


class ResidualUNetOptions(UNetOptions):
    """Options of ``residual-unet``: those of `UNetOptions`, with the defaults of nnU-Net's residual encoders."""

    units: Count | tuple[Count, ...] = (1, 3, 4, 6, 6, 6)
    decoder_units: Literal["same", "light"] = "light"
    enlarge: Literal["nearest", "transposed"] = "transposed"


class ResNetOptions(UNetOptions):
    """Options of ``resnet`` and ``se-resnet``: those of `UNetOptions`, two units a stage as in ResNet-18."""

    units: Count | tuple[Count, ...] = 2


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
        kind = BottleneckBlock if o.unit == "bottleneck" else ResidualBlock
        squeeze = squeeze_layer(o.squeeze, d, c_out)
        return kind(d, c_in, c_out, kernel=kernel, stride=stride, norm=o.norm, dropout=dropout, squeeze=squeeze)

    def stage(self, level: int, c_in: int, c_out: int) -> nn.Module:
        drop = self.options.dropout if level >= len(self.strides) - 2 else 0.0
        first = self.block(level, c_in, c_out, self.strides[level], drop)
        more = self.options.units_of(level) - 1
        one = [1] * self.dimensions
        return (
            nn.Sequential(first, *(self.block(level, c_out, c_out, one, drop) for _ in range(more))) if more else first
        )

    def encoder(self, c_in: int) -> StageEncoder:
        width = self.options.channels
        ins = [c_in, *width[:-1]]
        return StageEncoder([self.stage(k, ins[k], width[k]) for k in range(len(width))], width, self.strides)

    def up(self, level: int, c_in: int, c_out: int) -> nn.Module:
        one = [1] * self.dimensions
        if self.options.decoder_units == "same":
            return self.block(level, c_in, c_out, one)
        kernel, norm = self.kernels[level], self.options.norm
        return PlainBlock(self.dimensions, c_in, c_out, kernel=kernel, stride=one, norm=norm, units=1)

    def enlarge(self, level: int, c_in: int, c_out: int) -> nn.Module:
        return transposed(self.dimensions, c_in, c_out, self.strides[level + 1])


def _build(
    kind: type[UNetOptions], spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec], *,
    gated: bool = False, squeeze: Squeeze | None = None,
) -> EncoderDecoder:  # fmt: skip
    options = read_options(kind, spec.options, where="network.options", owner=spec.name)
    if squeeze is not None and options.squeeze == "none":
        options = options.model_copy(update={"squeeze": squeeze})
    if options.unit == "plain" and options.squeeze != "none":
        raise PlanError(f"network.options.squeeze: {options.squeeze!r} weighs residual units; unit is 'plain'")
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
    return _build(UNetOptions, spec, inputs, heads)


@network("residual-unet", small=SMALL | {"units": [1, 2, 1]})
def build_residual_unet(
    spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]
) -> EncoderDecoder:
    """As `build_unet`."""
    return _build(ResidualUNetOptions, spec, inputs, heads)


@network("attention-unet", small=SMALL)
def build_attention_unet(
    spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]
) -> EncoderDecoder:
    """As `build_unet`."""
    return _build(UNetOptions, spec, inputs, heads, gated=True)


@network("resnet", small=SMALL | {"units": [1, 2, 1]})
def build_resnet(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> EncoderDecoder:
    """As `build_unet`."""
    return _build(ResNetOptions, spec, inputs, heads)


@network("se-resnet", small=SMALL | {"units": [1, 2, 1]})
def build_se_resnet(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> EncoderDecoder:
    """As `build_unet`."""
    return _build(ResNetOptions, spec, inputs, heads, squeeze="channel")
