"""V-Net: large kernels, residual stages of growing length, strided convolutions down and up (Milletari et al. 2016).

Two things differ: convolutions are normalised, which came into use after it; and in the decoder a 1x1 convolution
brings joined features back to the channels of their level before the large kernels, which are four times cheaper then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from isocenter.errors import PlanError
from isocenter.networks.assembly import EncoderDecoder, Parts
from isocenter.networks.blocks import convolution, dropout_layer, normalisation, transposed
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

__all__ = ["VNetOptions"]


class VNetOptions(StageOptions):
    """Options of ``vnet`` in a plan, beside those of `StageOptions`.

    Attributes:
        units: Convolutions of each stage, one number for all or one for each; the last holds for further stages.
        kernel: Edge of the convolutions where ``kernels`` has 3, odd.
    """

    units: Units = (1, 2, 3, 3)
    kernel: Count = 5


class _Stage(nn.Module):
    """A convolution that changes channels and size, then so many beside which it goes on unchanged."""

    def __init__(self, enter: nn.Module, units: Sequence[nn.Module], channels: int) -> None:
        super().__init__()
        self.enter, self.body, self.act = enter, nn.Sequential(*units), nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return self.act(self.body(x) + x)  # type: ignore[no-any-return]


@network("vnet", small={"strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "channels": [4, 6, 8], "norm": "group"})
def build_vnet(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> EncoderDecoder:
    """Build from a plan.

    Raises:
        PlanError: Unknown or unfitting options.
    """
    options = read_options(VNetOptions, spec.options, where="network.options", owner=spec.name)
    check_stages(options, spec, list(heads.values()))
    if options.kernel % 2 == 0:
        raise PlanError(f"network.options.kernel: {options.kernel} is even and sizes would not be kept; make it odd")
    d, width = spec.dimensions, options.channels
    strides = [list(s[3 - d :]) for s in options.strides]
    kernels = [[options.kernel if k == 3 else k for k in kernel] for kernel in kernels_of(options, d)]

    def unit(level: int, c_in: int, c_out: int, kernel: Sequence[int], stride: Sequence[int]) -> nn.Module:
        return nn.Sequential(
            convolution(d, c_in, c_out, kernel, stride, bias=False), normalisation(options.norm, d, c_out),
            nn.PReLU(c_out),
        )  # fmt: skip

    def body(level: int, channels: int, drop: float) -> list[nn.Module]:
        count = units_of(options.units, level)
        one = [1] * d
        units = [unit(level, channels, channels, kernels[level], one) for _ in range(count - 1)]
        last = convolution(d, channels, channels, kernels[level], bias=False)
        return [*units, last, normalisation(options.norm, d, channels), dropout_layer(d, drop)]

    def down(level: int, c_in: int) -> nn.Module:
        stride, drop = strides[level], options.dropout if level >= len(width) - 2 else 0.0
        # the first only changes channels; the others halve by a convolution as large as its stride
        kernel = kernels[level] if max(stride) == 1 else stride
        enter: nn.Module = nn.Sequential(
            _strided(d, c_in, width[level], kernel, stride), normalisation(options.norm, d, width[level]),
            nn.PReLU(width[level]),
        )  # fmt: skip
        return _Stage(enter, body(level, width[level], drop), width[level])

    def encoder(c_in: int) -> StageEncoder:
        ins = [c_in, *width[:-1]]
        return StageEncoder([down(k, ins[k]) for k in range(len(width))], width, strides)

    def decoder(made: StageEncoder, levels: Sequence[int]) -> SkipDecoder:
        def up(level: int, c_in: int, c_out: int) -> nn.Module:
            return _Stage(unit(level, c_in, c_out, [1] * d, [1] * d), body(level, c_out, 0.0), c_out)

        return SkipDecoder(made, levels, up, enlarge=lambda k, c_in, c_out: transposed(d, c_in, c_out, strides[k + 1]))

    parts = Parts(d, encoder, decoder, options.stem[3 - d :], pooling=options.pooling)
    return EncoderDecoder(parts, inputs, heads)


def _strided(dimensions: int, c_in: int, c_out: int, kernel: Sequence[int], stride: Sequence[int]) -> nn.Module:
    if max(stride) == 1:
        return convolution(dimensions, c_in, c_out, kernel, bias=False)
    kind = nn.Conv3d if dimensions == 3 else nn.Conv2d
    return kind(c_in, c_out, tuple(kernel), tuple(stride), bias=False)  # type: ignore[arg-type]
