"""Dropout at prediction time: the layers that drop, switched on alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

__all__ = ["dropout_active", "dropout_layers"]


def dropout_layers(network: nn.Module) -> list[nn.Module]:
    """Layers of a network that drop something."""
    return [m for m in network.modules() if isinstance(m, _DropoutNd) and m.p > 0]


@contextmanager
def dropout_active(network: nn.Module) -> Iterator[int]:
    """Dropout as in training, everything else (norms above all) as in evaluation; gives the number of layers.

    Args:
        network: Put into evaluation mode; as it was before at the end.

    Reference:
        Gal & Ghahramani, *Dropout as a Bayesian approximation*, ICML 2016.

    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.BatchNorm1d(64), nn.Dropout(0.5)).eval()
        >>> x = torch.ones(2, 64)
        >>> with dropout_active(network) as layers:
        ...     layers, bool((network(x) == 0).any()), network[0].training
        (1, True, False)
        >>> bool((network(x) == 0).any())
        False
    """
    before = {m: m.training for m in network.modules()}
    network.eval()
    layers = dropout_layers(network)
    for layer in layers:
        layer.train()
    try:
        yield len(layers)
    finally:
        for module, training in before.items():
            module.training = training
