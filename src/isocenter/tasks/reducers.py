"""Reducers: how outputs of overlapping windows become one answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

import torch
from torch import Tensor

from isocenter.tasks.contract import Slab, Window

__all__ = ["BlendReducer", "MeanReducer", "PassReducer", "importance"]


@lru_cache(maxsize=16)
def importance(shape: tuple[int, int, int]) -> Tensor:
    """Gaussian weights of a window, 1 in the middle, sigma an eighth of each side, never below 1e-3.

    Voxels near the border of a window were seen with less context (Isensee et al. 2021).
    """
    weight = torch.ones(1)
    for n in shape:
        place = torch.arange(n, dtype=torch.float32) - (n - 1) / 2
        weight = weight[..., None] * torch.exp(-0.5 * (place / max(n / 8, 0.5)) ** 2)
    return weight[0].clamp_min(1e-3)


class BlendReducer:
    """Weighted mean of dense outputs in a ring of slices.

    Memory is channels x window depth x rows x columns, whatever the number of slices. Members (test-time views,
    ensembles) are averaged by adding each of them with the same window.

    Args:
        head: Name of the dense output.
    """

    def __init__(self, head: str) -> None:
        self.head = head
        self._base = 0
        self._sum: Tensor | None = None
        self._weight: Tensor | None = None
        self._shape = (0, 0, 0)

    def begin(self, shape: tuple[int, int, int]) -> None:
        """See `Reducer`."""
        self._shape, self._base, self._sum, self._weight = shape, 0, None, None

    def add(self, outputs: Mapping[str, Tensor], window: Window) -> Iterable[Slab]:
        """See `Reducer`."""
        done = self._release(window.start[0])
        values = outputs[self.head].float()
        z = window.start[0] - self._base
        self._grow(z + window.shape[0], values)
        total, weights = self._sum, self._weight
        if total is None or weights is None:
            return done
        weight = importance(window.shape).to(values.device)
        place = tuple(slice(a, a + n) for a, n in zip((z, *window.start[1:]), window.shape, strict=True))
        total[(slice(None), *place)] += values * weight
        weights[place] += weight
        return done

    def end(self) -> Iterable[Slab]:
        """See `Reducer`."""
        return self._release(self._shape[0])

    def _grow(self, depth: int, like: Tensor) -> None:
        have = 0 if self._sum is None else self._sum.shape[1]
        if depth <= have:
            return
        total = like.new_zeros((like.shape[0], depth, *self._shape[1:]))
        weights = like.new_zeros((depth, *self._shape[1:]))
        if self._sum is not None and self._weight is not None:
            total[:, :have], weights[:have] = self._sum, self._weight
        self._sum, self._weight = total, weights

    def _release(self, upto: int) -> list[Slab]:
        ready = upto - self._base
        if self._sum is None or self._weight is None or ready <= 0:
            return []
        slab = Slab(self._base, {self.head: self._sum[:, :ready] / self._weight[:ready]})
        self._sum, self._weight = self._sum[:, ready:].clone(), self._weight[ready:].clone()
        self._base = upto
        return [slab]


class MeanReducer:
    """Mean of global outputs over windows and members, each window weighted by its voxels."""

    def __init__(self, head: str) -> None:
        self.head = head
        self._sum: Tensor | float = 0.0
        self._weight = 0.0

    def begin(self, shape: tuple[int, int, int]) -> None:
        """See `Reducer`."""
        self._sum, self._weight = 0.0, 0.0

    def add(self, outputs: Mapping[str, Tensor], window: Window) -> Iterable[Slab]:
        """See `Reducer`."""
        voxels = float(window.shape[0] * window.shape[1] * window.shape[2])
        self._sum = self._sum + outputs[self.head].float() * voxels
        self._weight += voxels
        return ()

    def end(self) -> Iterable[Slab]:
        """See `Reducer`."""
        return [Slab(0, {self.head: torch.as_tensor(self._sum / max(self._weight, 1.0))})]


class PassReducer:
    """Hands every window on, with its place, for tasks that merge objects rather than voxels.

    The slab's outputs are those of the window; ``"window"`` is a ``(2, 3)`` tensor of its start and shape.
    """

    def begin(self, shape: tuple[int, int, int]) -> None:
        """See `Reducer`."""

    def add(self, outputs: Mapping[str, Tensor], window: Window) -> Iterable[Slab]:
        """See `Reducer`."""
        place = torch.tensor([window.start, window.shape])
        return [Slab(window.start[0], {**outputs, "window": place})]

    def end(self) -> Iterable[Slab]:
        """See `Reducer`."""
        return ()
