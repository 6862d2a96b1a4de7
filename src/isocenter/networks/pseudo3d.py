"""Pseudo-3-D: a 2-D encoder for every slice, recurrence across slices, a 2-D decoder.

Slices are computed as in a 2-D U-Net and speak to each other only in the coarse levels, where a convolutional GRU or
LSTM runs up and down the stack (Chen et al. 2016; Poudel et al. 2016, both for cardiac and neuronal stacks). It suits
thick slices: neighbours tell what they can, at almost the cost of 2-D.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from isocenter.networks.assembly import EncoderDecoder, Parts
from isocenter.networks.blocks import ResidualBlock, SliceRecurrence
from isocenter.networks.contract import HeadSpec, network
from isocenter.networks.stages import Count, SkipDecoder, StageEncoder, StageOptions, check_stages, kernels_of
from isocenter.plan import InputSpec, NetworkSpec, read_options

__all__ = ["Pseudo3DOptions"]


class Pseudo3DOptions(StageOptions):
    """Options of ``pseudo3d`` in a plan, beside those of `StageOptions`; slices are never pooled.

    Attributes:
        recurrence: ``"gru"`` or ``"lstm"``.
        recurrent_levels: Coarsest levels in which slices speak to each other.
        context: Slices on each side that stand as further channels of a slice (2.5-D).
    """

    strides: tuple[tuple[Count, Count, Count], ...] = ((1, 1, 1), (1, 2, 2), (1, 2, 2), (1, 2, 2))
    recurrence: Literal["gru", "lstm"] = "gru"
    recurrent_levels: Count = 2
    context: int = Field(default=0, ge=0, le=4)


class _Bridge(nn.ModuleList):
    """Recurrence in the coarsest levels."""

    def __init__(self, encoder: StageEncoder, read: Sequence[int], options: Pseudo3DOptions) -> None:
        count = len(encoder.channels)
        # a level that no head reads has no recurrence: what it learned would be thrown away
        first = max(0, count - options.recurrent_levels, min(read, default=count - 1))
        super().__init__([SliceRecurrence(c, options.recurrence) for c in encoder.channels[first:]])
        self.first = first

    def forward(self, features: list[Tensor], batch: int) -> list[Tensor]:
        deep = [part(x, batch) for part, x in zip(self, features[self.first :], strict=True)]
        return [*features[: self.first], *deep]


@network("pseudo3d", small={"strides": [[1, 1, 1], [1, 2, 2], [1, 2, 2]], "channels": [4, 6, 8], "norm": "group"})
def build_pseudo3d(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> EncoderDecoder:
    """Build from a plan; with ``dimensions: 2`` the stacks are one slice high.

    Raises:
        PlanError: Unknown or unfitting options.
    """
    options = read_options(Pseudo3DOptions, spec.options, where="network.options", owner=spec.name)
    check_stages(options, spec, list(heads.values()))
    width = options.channels
    strides = [list(s[1:]) for s in options.strides]
    kernels = kernels_of(options, 2)

    def block(level: int, c_in: int, c_out: int, stride: Sequence[int], drop: float = 0.0) -> nn.Module:
        return ResidualBlock(2, c_in, c_out, kernel=kernels[level], stride=stride, norm=options.norm, dropout=drop)

    def encoder(c_in: int) -> StageEncoder:
        ins = [c_in, *width[:-1]]
        drop = [options.dropout if k >= len(width) - 2 else 0.0 for k in range(len(width))]
        stages = [block(k, ins[k], width[k], strides[k], drop[k]) for k in range(len(width))]
        return StageEncoder(stages, width, strides)

    def decoder(made: StageEncoder, levels: Sequence[int]) -> SkipDecoder:
        return SkipDecoder(made, levels, lambda k, c_in, c_out: block(k, c_in, c_out, [1, 1]))

    parts = Parts(
        2, encoder, decoder, options.stem[1:], context=options.context, pooling=options.pooling,
        bridge=lambda made, read: _Bridge(made, read, options),
    )  # fmt: skip
    return EncoderDecoder(parts, inputs, heads)
