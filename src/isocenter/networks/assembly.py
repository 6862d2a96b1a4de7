"""A network from parts: fusion, stem, encoder, decoder, heads; what all families share is here and nowhere else.

The parts compute in two or three dimensions. In two, slices are folded into the batch: each is an image of its own, and
only a ``bridge`` (recurrence across slices), stacked neighbours and the pooling of global heads see several.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from isocenter.errors import PlanError
from isocenter.networks.blocks import SpaceToDepth
from isocenter.networks.contract import HeadSpec
from isocenter.networks.fusion import EarlyFusion, VectorStream, stack_neighbours
from isocenter.networks.heads import AttentionPooling, GlobalHead, LevelHeads, Pooling, level_of
from isocenter.networks.stages import Decoder, Encoder
from isocenter.plan import InputSpec

__all__ = ["EncoderDecoder", "Parts"]


@dataclass(frozen=True)
class Parts:
    """What a family of networks is made of.

    Attributes:
        dimensions: Of the convolutions, 2 or 3. In 2, slices are folded into the batch.
        encoder: Makes the encoder for so many channels.
        decoder: Makes the decoder of an encoder for the levels that heads read.
        stem: Factors by which the stem makes the input coarser, by axis of the convolutions.
        make_stem: Makes the stem for so many channels, and says how many come out; blocks of voxels become channels
            where ``None``.
        context: Slices on each side that are stacked as channels.
        bridge: Between encoder and decoder where slices are apart: made for the encoder and the levels that heads read,
            called with its features, ``(batch * slices, ...)``, and the batch.
        pooling: Of global heads.
    """

    dimensions: int
    encoder: Callable[[int], nn.Module]
    decoder: Callable[[Any, Sequence[int]], nn.Module]
    stem: Sequence[int]
    make_stem: Callable[[int], tuple[nn.Module, int]] | None = None
    context: int = 0
    bridge: Callable[[Any, Sequence[int]], nn.Module] | None = None
    pooling: Pooling = field(default="mean")


class EncoderDecoder(nn.Module):
    """A network under `isocenter.networks.contract`, made of `Parts`.

    Args:
        parts: See `Parts`.
        inputs: Of the plan.
        heads: Of the task.

    Raises:
        PlanError: Inputs or heads that such a network cannot serve.
    """

    def __init__(self, parts: Parts, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> None:
        super().__init__()
        self.dimensions, self.context, self.pooling = parts.dimensions, parts.context, parts.pooling
        self.heads_ = dict(heads)
        self.fusion = EarlyFusion(inputs)
        c_in = self.fusion.channels * (2 * parts.context + 1)
        if parts.make_stem is not None:
            self.stem, c_in = parts.make_stem(c_in)
        else:
            self.stem, c_in = SpaceToDepth(parts.stem), c_in * math.prod(parts.stem)
        encoder: Any = parts.encoder(c_in)
        self.encoder: Encoder = encoder
        self.steps = _steps(parts.stem, self.encoder.strides)
        self.multiple = self.steps[-1]
        self.levels_of = {n: level_of(h.stride, self.steps) for n, h in heads.items() if h.kind == "strided"}
        read = _read(heads, self.levels_of, len(self.steps))
        self.depth = min(read, default=len(self.steps) - 1)
        decoder: Any = parts.decoder(self.encoder, read)
        self.decoder: Decoder = decoder
        self.bridge = parts.bridge(self.encoder, read) if parts.bridge is not None else None
        self.vectors = VectorStream(inputs)
        if self.vectors.names and not any(h.kind == "global" for h in heads.values()):
            raise PlanError(
                f"inputs: {self.vectors.names[0]!r} is a vector, which only answers about the whole case can use;"
                " leave it out"
            )
        self.heads = nn.ModuleDict({n: self._head(n, h, parts.stem) for n, h in heads.items()})
        wanted = parts.pooling == "attention" and any(h.kind == "global" for h in heads.values())
        self.attention = AttentionPooling(self.encoder.channels[-1]) if wanted else None

    def _head(self, name: str, head: HeadSpec, stem: Sequence[int]) -> nn.Module:
        if head.kind == "global":
            return GlobalHead(self.encoder.channels[-1] + self.vectors.width, head)
        widths = self.decoder.channels
        level = self.levels_of.get(name, 0)
        return LevelHeads(head, widths, dimensions=self.dimensions, stem=stem, level=level)

    def forward(self, inputs: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `isocenter.networks.contract`."""
        x = self.fusion(inputs, present)
        batch, _, slices = x.shape[:3]
        if self.context:
            x = stack_neighbours(x, self.context)
        if self.dimensions == 2:
            x = x.transpose(1, 2).flatten(0, 1)
        size = x.shape[2:]
        x = _padded(x, self.multiple)
        memory = torch.channels_last_3d if self.dimensions == 3 else torch.channels_last
        features = self.encoder(self.stem(x).contiguous(memory_format=memory))
        if self.bridge is not None:
            features = self.bridge(features, batch)
        out: dict[str, Tensor] = {}
        levels = self.decoder(features)
        for name, head in self.heads_.items():
            if head.kind == "global":
                pooled = self._pooled(features[-1], batch)
                if self.vectors.names:
                    pooled = torch.cat([pooled, self.vectors(inputs, present).to(pooled.dtype)], 1)
                out[name] = self.heads[name](pooled)
            else:
                out |= self._placed(name, head, levels, size, (batch, slices))
        return out

    def _pooled(self, x: Tensor, batch: int) -> Tensor:
        if self.dimensions == 2:  # a slice is an instance
            instances = x.flatten(2).mean(2).view(batch, -1, x.shape[1])
        else:
            instances = x.flatten(2).transpose(1, 2)
        if self.attention is not None:
            return self.attention(instances)  # type: ignore[no-any-return]
        return instances.amax(1) if self.pooling == "max" else instances.mean(1)

    def _placed(
        self, name: str, head: HeadSpec, levels: Sequence[Tensor], size: Sequence[int], folded: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Outputs of a dense or strided head: what the padding added is cut off."""
        parts: Any = self.heads[name]
        out = {}
        for k, module in enumerate(list(parts)[: None if self.training or head.kind == "strided" else 1]):
            level = parts.level if head.kind == "strided" else k
            y = module(levels[level - self.depth])
            if k == 0:
                steps = self.steps[level] if head.kind == "strided" else [1] * len(size)
                y = y[(slice(None), slice(None), *[slice(0, -(-n // s)) for n, s in zip(size, steps, strict=True)])]
            if self.dimensions == 2:
                y = y.reshape(*folded, *y.shape[1:]).transpose(1, 2)
            out[f"{name}@{k}" if k else name] = y
        return out


def _steps(stem: Sequence[int], strides: Sequence[Sequence[int]]) -> list[list[int]]:
    """Input voxels a step of each level, by axis."""
    steps = [list(stem)]
    for stride in strides:
        steps.append([a * b for a, b in zip(steps[-1], stride, strict=True)])
    return steps[1:]


def _read(heads: Mapping[str, HeadSpec], levels: Mapping[str, int], count: int) -> list[int]:
    """Levels of the decoder that some head reads."""
    found = set(levels.values())
    for head in heads.values():
        if head.kind == "dense":
            found |= set(range(min(head.levels, count)))
    return sorted(found)


def _padded(x: Tensor, multiple: Sequence[int]) -> Tensor:
    size = x.shape[2:]
    whole = [-(-n // m) * m for n, m in zip(size, multiple, strict=True)]
    if whole == list(multiple):  # one voxel would be left at the coarsest level, and norms need more
        whole[-1] *= 2
    widths = [w for n, m in zip(reversed(size), reversed(whole), strict=True) for w in (0, m - n)]
    return functional.pad(x, widths, mode="replicate") if any(widths) else x
