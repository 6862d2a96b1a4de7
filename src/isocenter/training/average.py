"""Averaged weights."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["update_average"]


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average of weights and of running statistics (Tarvainen & Valpola 2017).

    The decay is lower at first, so that the random start is soon forgotten.

    Args:
        average: Changed in place.
        network: Just updated.
        decay: Share that is kept, 0 to below 1.
        step: Counted from 0.

    Example:
        >>> average, network = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.zeros_(average.weight), nn.init.ones_(network.weight)
        >>> update_average(average, network, decay=0.99, step=0)  # the start is forgotten quickly
        >>> round(average.weight.item(), 3)
        0.9
    """
    keep = min(decay, (1 + step) / (10 + step))
    own, new = list(average.state_dict().values()), list(network.state_dict().values())
    floats = [(a, b) for a, b in zip(own, new, strict=True) if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - keep)
    for a, b in zip(own, new, strict=True):
        if not a.is_floating_point():
            a.copy_(b)
