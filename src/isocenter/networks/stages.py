"""Encoders and decoders as rows of stages, and the options that all of them share.

An encoder is a module whose ``forward(x)`` gives the features of every level, the finest first, and that has
``channels`` (of each level) and ``strides`` (of each level against the one before, by axis). A decoder takes these and
gives levels from the finest that a head reads to the coarsest, and has ``channels`` of every one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from isocenter.errors import PlanError
from isocenter.networks.contract import HeadSpec
from isocenter.networks.heads import Pooling
from isocenter.plan import NetworkSpec, Options

__all__ = [
    "Count",
    "Decoder",
    "Encoder",
    "SkipDecoder",
    "StageEncoder",
    "StageOptions",
    "Step",
    "Units",
    "check_stages",
    "kernels_of",
    "units_of",
]

Count = Annotated[int, Field(ge=1)]
Step = tuple[Count, Count, Count]
Units = Count | Annotated[tuple[Count, ...], Field(min_length=1)]
"""Of a stage: one number for all, or one for each."""
Sizes = Sequence[int]


class Encoder(Protocol):
    """See the module's text."""

    @property
    def channels(self) -> Sequence[int]:
        """Of each level."""

    @property
    def strides(self) -> Sequence[Sizes]:
        """Of each level against the one before."""

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Features of every level, the finest first."""


class Decoder(Protocol):
    """See the module's text."""

    @property
    def channels(self) -> Sequence[int]:
        """Of each level."""

    def __call__(self, features: list[Tensor]) -> list[Tensor]:
        """Levels from the finest that is needed to the coarsest."""


class StageOptions(Options):
    """Options that networks of stages share.

    Attributes:
        stem: Voxels per axis (slice, row, column) that the stem takes together.
        strides: Of each stage (slice, row, column), the first being that of the finest: usually ``(1, 1, 1)``.
        channels: Of each stage.
        kernels: Of each stage's convolutions (slice, row, column), odd; where ``None`` they follow from the strides: 3,
            but 1 along thick slices until they are pooled. The planner, who knows the spacing, states them.
        norm: ``"batch"``, ``"instance"`` or ``"group"``.
        dropout: Share of channels dropped in the two coarsest stages.
        pooling: How the coarsest features become one row for a global head: their mean, their largest, or by learned
            attention (over slices where slices are apart: multiple-instance pooling).
    """

    stem: Step = (1, 1, 1)
    strides: tuple[Step, ...] = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    channels: tuple[Count, ...] = Field(default=(16, 32, 64, 128), min_length=1)
    kernels: tuple[Step, ...] | None = None
    norm: Literal["batch", "instance", "group"] = "instance"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    pooling: Pooling = "mean"


def check_stages(options: StageOptions, spec: NetworkSpec, heads: Sequence[HeadSpec]) -> None:
    """Refuse stages that do not fit each other or the heads.

    Raises:
        PlanError: As many strides (and kernels) as channels are needed, kernels are odd, and the first stride is 1 for
            dense heads.
    """
    if len(options.strides) != len(options.channels):
        raise PlanError(
            f"network.options: {len(options.strides)} strides for {len(options.channels)} channels; one of each a stage"
        )
    if options.kernels is not None and len(options.kernels) != len(options.channels):
        raise PlanError(
            f"network.options: {len(options.kernels)} kernels for {len(options.channels)} channels; one of each a stage"
        )
    even = [k for kernel in options.kernels or () for k in kernel if k % 2 == 0]
    if even:
        raise PlanError(f"network.options.kernels: {even[0]} is even; sizes would not be kept")
    if max(options.strides[0][3 - spec.dimensions :]) > 1 and any(head.kind == "dense" for head in heads):
        raise PlanError(
            f"network.options.strides: the first is {list(options.strides[0])}, but {spec.name} gives dense outputs at"
            " the resolution of its first stage; make it [1, 1, 1] (the stem may be coarser)"
        )


def kernels_of(options: StageOptions, dimensions: int) -> list[list[int]]:
    """Kernel of each stage, by axis of the convolutions: as stated, or as follows from the strides.

    Example:
        >>> kernels_of(StageOptions(strides=[[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2]]), 3)
        [[1, 3, 3], [1, 3, 3], [1, 3, 3], [3, 3, 3]]
    """
    if options.kernels is not None:
        return [list(kernel[3 - dimensions :]) for kernel in options.kernels]
    strides = [list(stride[3 - dimensions :]) for stride in options.strides]
    kernels = []
    done = [1] * dimensions
    total = [math.prod(axis) for axis in zip(*strides, strict=True)]
    for stride in strides:
        done = [d * s for d, s in zip(done, stride, strict=True)]
        # an axis that is pooled less often than the others in the end is the thick one: wait until its pooling begins
        kernels.append([1 if t * 2 <= max(total) and d == 1 else 3 for t, d in zip(total, done, strict=True)])
    return kernels


def units_of(units: int | Sequence[int], stage: int) -> int:
    """Units of a stage; the last number holds for further stages.

    Example:
        >>> units_of(2, 3), units_of((1, 3), 0), units_of((1, 3), 5)
        (2, 1, 3)
    """
    return units if isinstance(units, int) else units[min(stage, len(units) - 1)]


class StageEncoder(nn.ModuleList):
    """Stages one after another.

    Args:
        stages: Modules; the first convolution of each has its stride.
        channels: Of each stage.
        strides: Of each stage, by axis of the convolutions.
    """

    def __init__(self, stages: Sequence[nn.Module], channels: Sequence[int], strides: Sequence[Sizes]) -> None:
        super().__init__(stages)
        self.channels = tuple(channels)
        self.strides = [list(s) for s in strides]

    def forward(self, x: Tensor) -> list[Tensor]:
        """See `Encoder`."""
        features = []
        for stage in self:
            x = stage(x)
            features.append(x)
        return features


class SkipDecoder(nn.ModuleList):
    """From the coarsest level up: enlarge, join the encoder's features of that level, convolve (Ronneberger 2015).

    Args:
        encoder: Whose features are joined.
        levels: Those that heads read; stages finer than all of them are not built.
        stage: Makes the convolutions of a level: ``stage(level, c_in, c_out)``.
        enlarge: Makes what doubles the size before the features are joined: ``enlarge(level, c_in, c_out)`` that gives
            ``c_out`` channels; nearest neighbours, channels as they are, where ``None``.
        gate: Makes what weighs the encoder's features by the coarser ones: ``gate(level, c_skip, c_coarse)``.
        join: ``"concatenate"`` or ``"add"`` (then ``enlarge`` must give the channels of the level).
    """

    def __init__(
        self,
        encoder: Encoder,
        levels: Sequence[int],
        stage: Callable[[int, int, int], nn.Module],
        *,
        enlarge: Callable[[int, int, int], nn.Module] | None = None,
        gate: Callable[[int, int, int], nn.Module] | None = None,
        join: Literal["concatenate", "add"] = "concatenate",
    ) -> None:
        width = tuple(encoder.channels)
        depth = min(levels, default=len(width) - 1)
        steps = range(len(width) - 1)
        coming = [width[k] if enlarge is not None else width[k + 1] for k in steps]
        joined = [c if join == "add" else c + w for c, w in zip(coming, width[:-1], strict=True)]
        super().__init__([stage(k, joined[k], width[k]) if k >= depth else nn.Identity() for k in steps])
        self.channels, self.depth, self.join = width, depth, join
        self.enlarge = _from(depth, steps, lambda k: enlarge(k, width[k + 1], width[k])) if enlarge else None
        self.gates = _from(depth, steps, lambda k: gate(k, width[k], coming[k])) if gate else None

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """See `Decoder`."""
        x: Any = features[-1]
        levels = [x]
        for k in range(len(features) - 2, self.depth - 1, -1):
            skip = features[k]
            if self.enlarge is not None:
                x = self.enlarge[k](x)
            if x.shape[2:] != skip.shape[2:]:
                x = functional.interpolate(x, size=skip.shape[2:], mode="nearest")
            if self.gates is not None:
                skip = self.gates[k](skip, x)
            x = self[k](x + skip if self.join == "add" else torch.cat([x, skip], 1))
            levels.append(x)
        return levels[::-1]


def _from(depth: int, levels: Sequence[int], make: Callable[[int], nn.Module]) -> nn.ModuleList:
    return nn.ModuleList([make(k) if k >= depth else nn.Identity() for k in levels])
