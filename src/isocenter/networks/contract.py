"""What a network is: inputs by name in, outputs by head name out.

A network is a `torch.nn.Module` whose ``forward(inputs, present)`` takes

- ``inputs``: image name to ``(batch, channel, D, H, W)``; a missing image is a tensor of zeros,
- ``present``: image name to ``(batch,)`` bool, or an empty mapping where every image is there,

and gives head name to tensor: ``(batch, channels, D, H, W)`` for ``"dense"`` heads (with ``levels`` > 1 in training:
the further, coarser outputs under ``"<name>@1"``, ``"<name>@2"`` ...); ``(batch, channels, D/s, H/s, W/s)``, rounded
up, for ``"strided"``, where output ``i`` covers the inputs from ``i * s``; ``(batch, channels)`` for ``"global"``.
Two-dimensional networks take each slice as an image of its own.

It is built by a registered function ``build(spec, inputs, heads) -> nn.Module``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from isocenter.plan import InputSpec, NetworkSpec, Registry

if TYPE_CHECKING:
    from torch import nn

__all__ = ["HeadSpec", "NetworkBuilder", "build_network", "network", "networks", "small_options"]


@dataclass(frozen=True)
class HeadSpec:
    """An output that a task asks for.

    Attributes:
        kind: ``"dense"`` (the grid of the input), ``"strided"`` (coarser by ``stride``), ``"global"`` (one vector).
        channels: Of the output.
        levels: Resolutions that are supervised in training, the finest included (``"dense"`` only); a network that
            has fewer gives fewer.
        stride: Of ``"strided"``: input voxels an output voxel, per in-plane axis; along slices the network's own.
        bias: First value of the output's bias; rare classes start better from a low one.
    """

    kind: Literal["dense", "strided", "global"]
    channels: int
    levels: int = 1
    stride: int = 4
    bias: float = 0.0


NetworkBuilder = Callable[[NetworkSpec, Sequence[InputSpec], Mapping[str, HeadSpec]], "nn.Module"]

networks: Registry[NetworkBuilder] = Registry("network", home="isocenter.networks")


_SMALL: dict[str, Mapping[str, Any]] = {}


def network(name: str, *, small: Mapping[str, Any] | None = None) -> Callable[[NetworkBuilder], NetworkBuilder]:
    """Decorator that registers a builder: ``@network("mine")``; plans then ask for it by ``network.name: mine``.

    Args:
        name: In plans.
        small: Options of an instance that computes fast, for `isocenter.check_network`.

    Raises:
        PlanError: The name is taken.

    Example:
        >>> @network("constant")
        ... def build_constant(spec, inputs, heads):
        ...     "Would return an ``nn.Module``."
        >>> "constant" in networks
        True
    """
    if small is not None:
        _SMALL[name] = dict(small)
    return networks.register(name)


def small_options(name: str) -> Mapping[str, Any]:
    """Options that a network's author named for quick checks; none where he named none.

    Raises:
        PlanError: No such network.
    """
    _ = networks[name]
    return _SMALL.get(name, {})


def build_network(spec: NetworkSpec, inputs: Sequence[InputSpec], heads: Mapping[str, HeadSpec]) -> Any:
    """The network that a plan asks for, with random weights from torch's global generator.

    Raises:
        PlanError: No such network, or options it does not know.

    Example:
        >>> import torch
        >>> spec = NetworkSpec(dimensions=2, options={"strides": [[1, 1, 1], [1, 2, 2]], "channels": [4, 8]})
        >>> net = build_network(spec, [InputSpec(name="ct")], {"organ": HeadSpec("dense", 3)}).eval()
        >>> net({"ct": torch.zeros(1, 1, 5, 16, 15)}, {})["organ"].shape
        torch.Size([1, 3, 5, 16, 15])
    """
    return networks[spec.name](spec, inputs, heads)
