"""SwinUNETR (Hatamizadeh et al. 2022), MONAI's, behind our contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from isocenter.errors import PlanError
from isocenter.networks.contract import HeadSpec, network
from isocenter.networks.fusion import EarlyFusion
from isocenter.networks.stages import Count
from isocenter.plan import InputSpec, NetworkSpec, Options, read_options

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SwinUNETR", "SwinUNETROptions"]

MULTIPLE = 32
"""Sizes it takes are multiples of this on every axis."""


class SwinUNETROptions(Options):
    """Options of ``swin-unetr`` in a plan.

    It knows nothing of spacing: five times every axis is halved, thick slices included.

    Attributes:
        width: Channels of the first stage, a multiple of 12.
        depths: Blocks of each of the four stages.
        heads: Attention heads of each of the four stages.
        window: Edge of the attention windows.
        dropout: Share of channels dropped.
    """

    width: int = Field(default=24, ge=12, multiple_of=12)
    depths: tuple[Count, Count, Count, Count] = (2, 2, 2, 2)
    heads: tuple[Count, Count, Count, Count] = (3, 6, 12, 24)
    window: Count = 7
    dropout: float = Field(default=0.0, ge=0, lt=1)


@network("swin-unetr", small={"width": 12, "depths": [1, 1, 1, 1], "window": 3})
def build_swin_unetr(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> SwinUNETR:
    """Build from a plan.

    Raises:
        PlanError: Unknown options, or heads that are not dense.
    """
    options = read_options(SwinUNETROptions, spec.options, where="network.options", owner=spec.name)
    for k, count in enumerate(options.heads):
        if (options.width * 2**k) % count:
            raise PlanError(
                f"network.options.heads: {count} attention heads do not divide the {options.width * 2**k} channels of"
                f" stage {k}; change heads or width"
            )
    return SwinUNETR(options, inputs, heads, dimensions=spec.dimensions)


class SwinUNETR(nn.Module):
    """See `isocenter.networks.contract`; dense heads only, without coarser levels.

    Raises:
        PlanError: A head that is not dense, or a vector among the inputs.
    """

    def __init__(
        self, options: SwinUNETROptions, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec], *, dimensions: int
    ) -> None:
        from monai.networks.nets.swin_unetr import SwinUNETR as Monai

        super().__init__()
        for name, head in heads.items():
            if head.kind != "dense":
                raise PlanError(
                    f"network 'swin-unetr' gives dense outputs, {name!r} is {head.kind}; take 'unet' or 'resnet'"
                )
        if any(i.kind == "vector" for i in inputs):
            raise PlanError("network 'swin-unetr' reads images alone; leave vectors out of the inputs")
        self.dimensions = dimensions
        self.heads_ = dict(heads)
        self.fusion = EarlyFusion(inputs)
        self.body = Monai(
            in_channels=self.fusion.channels, out_channels=sum(h.channels for h in heads.values()),
            feature_size=options.width, depths=options.depths, num_heads=options.heads, window_size=options.window,
            drop_rate=options.dropout, spatial_dims=dimensions,
        )  # fmt: skip

    def forward(self, inputs: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `isocenter.networks.contract`."""
        x = self.fusion(inputs, present)
        batch, _, slices = x.shape[:3]
        if self.dimensions == 2:
            x = x.transpose(1, 2).flatten(0, 1)
        size = x.shape[2:]
        # instance norms of its coarsest level need more than one voxel
        whole = [max(-(-n // MULTIPLE), 1 + (k == len(size) - 1)) * MULTIPLE for k, n in enumerate(size)]
        widths = [w for n, m in zip(reversed(size), reversed(whole), strict=True) for w in (0, m - n)]
        x = functional.pad(x, widths, mode="replicate") if any(widths) else x
        y = self.body(x)[(slice(None), slice(None), *[slice(0, n) for n in size])]
        if self.dimensions == 2:
            y = y.reshape(batch, slices, *y.shape[1:]).transpose(1, 2)
        return dict(self._split(y))

    def _split(self, y: Tensor) -> Iterator[tuple[str, Tensor]]:
        begin = 0
        for name, head in self.heads_.items():
            yield name, y[:, begin : begin + head.channels] + head.bias
            begin += head.channels
