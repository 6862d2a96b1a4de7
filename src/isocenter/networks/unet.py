"""Residual U-Net in two or three dimensions, with dense, strided and global heads.

Encoder of residual blocks, decoder with skip connections (Ronneberger et al. 2015; residual encoder as in nnU-Net
revisited, Isensee et al. 2024). The stem may move blocks of 2x2 voxels into channels and the heads move them back: the
full resolution is kept in the data while the convolutions run on a quarter of the positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torch.nn import functional

from isocenter.errors import PlanError
from isocenter.networks.blocks import DepthToSpace, ResidualBlock, SpaceToDepth, convolution
from isocenter.networks.contract import HeadSpec, network
from isocenter.plan import InputSpec, NetworkSpec

__all__ = ["UNet", "UNetOptions"]

Count = Annotated[int, Field(ge=1)]
Step = tuple[Count, Count, Count]


class UNetOptions(BaseModel):
    """Options of ``unet`` in a plan.

    Attributes:
        stem: Voxels per axis (slice, row, column) that the stem moves into channels.
        strides: Of each stage (slice, row, column), the first being that of the finest: usually ``(1, 1, 1)``.
        channels: Of each stage.
        norm: ``"batch"``, ``"instance"`` or ``"group"``.
        dropout: Share of channels dropped in the two coarsest stages.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stem: Step = (1, 1, 1)
    strides: tuple[Step, ...] = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    channels: tuple[Count, ...] = Field(default=(16, 32, 64, 128), min_length=1)
    norm: Literal["batch", "instance", "group"] = "instance"
    dropout: float = Field(default=0.0, ge=0, lt=1)


@network("unet")
def build_unet(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> UNet:
    """Build from a plan.

    Raises:
        PlanError: Unknown or unfitting options.
    """
    try:
        options = UNetOptions(**spec.options)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(p) for p in first["loc"])
        known = ", ".join(UNetOptions.model_fields)
        raise PlanError(f"network.options.{key}: {first['msg']}; unet knows {known}") from None
    if len(options.strides) != len(options.channels):
        raise PlanError(
            f"network.options: {len(options.strides)} strides for {len(options.channels)} channels; one of each a stage"
        )
    if max(options.strides[0][3 - spec.dimensions :]) > 1 and any(head.kind == "dense" for head in heads.values()):
        raise PlanError(
            f"network.options.strides: the first is {list(options.strides[0])}, but {spec.name} gives dense outputs at"
            " the resolution of its first stage; make it [1, 1, 1] (the stem may be coarser)"
        )
    return UNet(options, inputs, heads, dimensions=spec.dimensions)


class UNet(nn.Module):
    """See the module's text; `isocenter.networks.contract` states what goes in and out."""

    def __init__(
        self, options: UNetOptions, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec], *, dimensions: int
    ) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.inputs = tuple(inputs)
        self.heads_ = dict(heads)
        self.optional = tuple(i.name for i in self.inputs if not i.required)
        self.stem_: list[int] = list(options.stem[3 - dimensions :])
        strides: list[list[int]] = [list(s[3 - dimensions :]) for s in options.strides]
        self.multiple = [int(f) for f in torch.tensor([self.stem_, *strides]).prod(0)]
        self.steps = torch.cumprod(torch.tensor([self.stem_, *strides]), 0)[1:].tolist()
        kernels = _kernels(strides)
        width = options.channels
        c_in = (sum(i.channels for i in self.inputs) + len(self.optional)) * int(torch.tensor(self.stem_).prod())
        self.stem = SpaceToDepth(self.stem_)
        stages = []
        for k, (stride, kernel) in enumerate(zip(strides, kernels, strict=True)):
            drop = options.dropout if k >= len(width) - 2 else 0.0
            stages.append(
                ResidualBlock(
                    dimensions, width[k - 1] if k else c_in, width[k],
                    kernel=kernel, stride=stride, norm=options.norm, dropout=drop,
                )
            )  # fmt: skip
        self.encoder = nn.ModuleList(stages)
        self.depth = _decoder_depth(heads, strides, self.stem_)
        self.decoder = nn.ModuleList(
            ResidualBlock(
                dimensions, width[k + 1] + width[k], width[k],
                kernel=kernels[k], stride=[1] * dimensions, norm=options.norm,
            )
            for k in range(len(width) - 1)
        )  # fmt: skip
        for k in range(self.depth):
            self.decoder[k] = nn.Identity()
        self.heads = nn.ModuleDict(
            {
                name: _head(head, width, dimensions, self.stem_, self._strided_level(head, strides))
                for name, head in heads.items()
            }
        )

    def _strided_level(self, head: HeadSpec, strides: Sequence[Sequence[int]]) -> int:
        return _level_of(head.stride, strides, self.stem_) if head.kind == "strided" else 0

    def forward(self, inputs: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `isocenter.networks.contract`."""
        x = self._fuse(inputs, present)
        batch, _, slices = x.shape[:3]
        if self.dimensions == 2:
            x = x.transpose(1, 2).flatten(0, 1)
        size = x.shape[2:]
        whole = [-(-n // m) * m for n, m in zip(size, self.multiple, strict=True)]
        if whole == self.multiple:  # one voxel would be left at the coarsest level, and norms need more
            whole[-1] *= 2
        widths = [w for n, m in zip(reversed(size), reversed(whole), strict=True) for w in (0, m - n)]
        x = functional.pad(x, widths, mode="replicate") if any(widths) else x
        memory = torch.channels_last_3d if self.dimensions == 3 else torch.channels_last
        x = self.stem(x).contiguous(memory_format=memory)
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        levels = [x]
        for k in range(len(skips) - 2, self.depth - 1, -1):
            x = functional.interpolate(x, size=skips[k].shape[2:], mode="nearest")
            x = self.decoder[k](torch.cat([x, skips[k]], 1))
            levels.append(x)
        return self._outputs(levels[::-1], skips[-1], size, batch, slices)

    def _fuse(self, inputs: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Early fusion; images that may be missing come with a channel that says whether they are there."""
        parts = [inputs[i.name] for i in self.inputs]
        for name in self.optional:
            like = inputs[name][:, :1]
            flag = present.get(name)
            parts.append(torch.ones_like(like) if flag is None else flag.to(like).view(-1, 1, 1, 1, 1).expand_as(like))
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def _outputs(
        self, levels: Sequence[Tensor], coarsest: Tensor, size: Sequence[int], batch: int, slices: int
    ) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for name, head in self.heads_.items():
            part: Any = self.heads[name]
            if head.kind == "global":
                pooled = coarsest.flatten(2).mean(2)
                pooled = pooled.view(batch, -1, pooled.shape[1]).mean(1) if self.dimensions == 2 else pooled
                out[name] = part(pooled)
                continue
            for k, module in enumerate(part if self.training or head.kind == "strided" else part[:1]):
                level = part.level if head.kind == "strided" else k
                y = module(levels[level - self.depth])
                if k == 0:  # what the padding added goes
                    steps = self.steps[level] if head.kind == "strided" else [1] * len(size)
                    y = y[(slice(None), slice(None), *[slice(0, -(-n // s)) for n, s in zip(size, steps, strict=True)])]
                out[f"{name}@{k}" if k else name] = self._unfold(y, batch, slices)
        return out

    def _unfold(self, y: Tensor, batch: int, slices: int) -> Tensor:
        if self.dimensions == 3:
            return y
        return y.reshape(batch, slices, *y.shape[1:]).transpose(1, 2)


class _Heads(nn.ModuleList):
    level: int = 0


def _head(head: HeadSpec, width: Sequence[int], dimensions: int, stem: Sequence[int], level: int) -> nn.Module:
    if head.kind == "global":
        linear = nn.Linear(width[-1], head.channels)
        nn.init.constant_(linear.bias, head.bias)
        return nn.Sequential(nn.Dropout(0.2), linear)
    parts = _Heads()
    parts.level = level
    one = [1] * dimensions
    blocks = int(torch.tensor(tuple(stem)).prod())
    for k in range(min(head.levels, len(width)) if head.kind == "dense" else 1):
        fold = blocks if head.kind == "dense" and k == 0 else 1
        conv: Any = convolution(dimensions, width[level + k], head.channels * fold, one)
        nn.init.constant_(conv.bias, head.bias)
        parts.append(nn.Sequential(conv, DepthToSpace(stem)) if fold > 1 else conv)
    return parts


def _kernels(strides: Sequence[Sequence[int]]) -> list[list[int]]:
    """3 where an axis is as fine as the plane; 1 on axes that are not yet pooled while others are (thick slices)."""
    kernels = []
    done = torch.ones(len(strides[0]), dtype=torch.long)
    total = torch.tensor([list(s) for s in strides]).prod(0)
    for stride in strides:
        done = done * torch.tensor(list(stride))
        # an axis that is pooled less often than the others in the end is the thick one: wait until its pooling begins
        thick = (total * 2 <= total.max()) & (done == 1)
        kernels.append([1 if t else 3 for t in thick.tolist()])
    return kernels


def _decoder_depth(heads: Mapping[str, HeadSpec], strides: Sequence[Sequence[int]], stem: Sequence[int]) -> int:
    """Finest level that some head needs; finer decoder stages are not built."""
    need = len(strides) - 1
    for head in heads.values():
        if head.kind == "dense":
            need = 0
        elif head.kind == "strided":
            need = min(need, _level_of(head.stride, strides, stem))
    return need


def _level_of(stride: int, strides: Sequence[Sequence[int]], stem: Sequence[int]) -> int:
    reached = stem[-1]
    for level, step in enumerate(strides):
        reached *= step[-1]
        if reached == stride:
            return level
    raise PlanError(
        f"network: no stage of stride {stride} for a strided head; change network.options.strides or the task"
    )
