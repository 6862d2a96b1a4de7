r"""A network from outside the package: three levels of plain convolutions.

On the command line:

    isocenter --plugin plain_network fit DATASET --out model \
        --set network.name=plain --set 'network.options={width: 16}'
    isocenter --plugin plain_network predict model STUDY --out result

A network reads images by name and gives outputs by name; `isocenter.networks.contract` states the shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from isocenter.errors import PlanError
from isocenter.networks import HeadSpec, network
from isocenter.plan import InputSpec, NetworkSpec


@network("plain")  # from now on a plan can ask for `network.name: plain`
def build(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> PlainNetwork:
    """What the plan asks for, refused where it does not fit."""
    unknown = sorted(set(spec.options) - {"width"})
    if unknown:
        raise PlanError(f"network.options: no {unknown[0]!r}; plain knows width: set network.options={{width: 16}}")
    if any(head.kind != "dense" for head in heads.values()):
        raise PlanError("network.name: plain gives one output a voxel and cannot serve this task; use unet")
    return PlainNetwork(spec, inputs, heads)


class PlainNetwork(nn.Module):
    """Two poolings down, two steps up, skip connections by addition."""

    def __init__(self, spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> None:
        super().__init__()
        self.names = [image.name for image in inputs]
        width = int(spec.options.get("width", 16))
        flat = spec.dimensions == 2  # slices come as a third axis all the same, here they are not mixed
        self.kernel = (1, 3, 3) if flat else (3, 3, 3)
        self.pool = (1, 2, 2) if flat else (2, 2, 2)
        self.fine = self._block(sum(image.channels for image in inputs), width)
        self.middle = self._block(width, width)
        self.coarse = self._block(width, width)
        self.heads = nn.ModuleDict({name: nn.Conv3d(width, head.channels, 1) for name, head in heads.items()})

    def _block(self, c_in: int, c_out: int) -> nn.Module:
        convolution = nn.Conv3d(c_in, c_out, self.kernel, padding="same")
        return nn.Sequential(convolution, nn.InstanceNorm3d(c_out, affine=True), nn.LeakyReLU(0.01))

    def forward(self, inputs: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``(batch, channel, slice, row, column)`` in and out. A missing image is zeros; `present` is not needed."""
        fine = self.fine(torch.cat([inputs[name] for name in self.names], dim=1))
        middle = self.middle(functional.max_pool3d(fine, self.pool, ceil_mode=True))
        coarse = self.coarse(functional.max_pool3d(middle, self.pool, ceil_mode=True))
        middle = middle + functional.interpolate(coarse, size=middle.shape[2:])
        fine = fine + functional.interpolate(middle, size=fine.shape[2:])
        # a head may ask for coarser outputs in training too (`head.levels`); giving the finest alone is allowed
        return {name: head(fine) for name, head in self.heads.items()}
