"""SegResNet: pre-activated residual encoder, additive skips, linear enlargement (Myronenko 2018).

The encoder-decoder of the winner of BraTS 2018 without its variational branch, here for any spacing: kernels and
strides follow the axes. With cubic strides and the same weights it computes what MONAI's ``SegResNet`` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from isocenter.networks.assembly import EncoderDecoder, Parts
from isocenter.networks.blocks import PreActivationBlock, convolution, dropout_layer, normalisation
from isocenter.networks.contract import HeadSpec, network
from isocenter.networks.stages import SkipDecoder, StageEncoder, StageOptions, Units, check_stages, kernels_of, units_of
from isocenter.plan import InputSpec, NetworkSpec, read_options

__all__ = ["SegResNetOptions"]


class SegResNetOptions(StageOptions):
    """Options of ``segresnet`` in a plan, beside those of `StageOptions`.

    Attributes:
        units: Blocks of each stage of the encoder; the last number holds for further stages.
    """

    norm: Literal["batch", "instance", "group"] = "group"
    units: Units = (1, 2, 2, 4)


class _Enlarge(nn.Module):
    """1x1 convolution to fewer channels, then linear interpolation."""

    def __init__(self, dimensions: int, c_in: int, c_out: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.reduce = convolution(dimensions, c_in, c_out, [1] * dimensions, bias=False)
        self.stride = [float(s) for s in stride]
        self.mode = "trilinear" if dimensions == 3 else "bilinear"

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(self.reduce(x), scale_factor=self.stride, mode=self.mode, align_corners=False)


class _Decoder(SkipDecoder):
    """Levels end in norm and activation, since the blocks are pre-activated."""

    def __init__(self, *args: object, finish: Sequence[nn.Module], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.finish = nn.ModuleList(finish)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        levels = super().forward(features)
        first = len(features) - len(levels)
        return [self.finish[first + k](x) for k, x in enumerate(levels)]


@network("segresnet", small={"strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "channels": [4, 8, 8], "units": [1, 1, 2]})
def build_segresnet(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> EncoderDecoder:
    """Build from a plan.

    Raises:
        PlanError: Unknown or unfitting options.
    """
    options = read_options(SegResNetOptions, spec.options, where="network.options", owner=spec.name)
    check_stages(options, spec, list(heads.values()))
    d, width = spec.dimensions, options.channels
    strides = [list(s[3 - d :]) for s in options.strides]
    kernels = kernels_of(options, d)

    def block(level: int, channels: int) -> nn.Module:
        return PreActivationBlock(d, channels, kernel=kernels[level], norm=options.norm)

    def stage(level: int, c_in: int) -> nn.Module:
        count = units_of(options.units, level)
        drop = options.dropout if level >= len(width) - 2 else 0.0
        enter = convolution(d, c_in, width[level], kernels[level], strides[level], bias=False)
        return nn.Sequential(enter, dropout_layer(d, drop), *(block(level, width[level]) for _ in range(count)))

    def encoder(c_in: int) -> StageEncoder:
        ins = [c_in, *width[:-1]]
        return StageEncoder([stage(k, ins[k]) for k in range(len(width))], width, strides)

    def decoder(made: StageEncoder, levels: Sequence[int]) -> SkipDecoder:
        def finish(channels: int) -> nn.Module:
            return nn.Sequential(normalisation(options.norm, d, channels), nn.ReLU(inplace=True))

        return _Decoder(
            made, levels, lambda k, c_in, c_out: block(k, c_out), join="add",
            enlarge=lambda k, c_in, c_out: _Enlarge(d, c_in, c_out, strides[k + 1]),
            finish=[finish(w) if k in levels else nn.Identity() for k, w in enumerate(width)],
        )  # fmt: skip

    parts = Parts(d, encoder, decoder, options.stem[3 - d :], pooling=options.pooling)
    return EncoderDecoder(parts, inputs, heads)
