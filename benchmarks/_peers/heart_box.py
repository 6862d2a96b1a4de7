"""Where hearts lie in a slice, from training labels alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from budget import read_labels

MARGIN, MULTIPLE = 16, 16  # voxels


class Box:
    """The part of a slice, about its middle, that holds every training heart with a margin.

    Attributes:
        shift: From the middle of the slice to the middle of the box, voxels, along each of the two axes.
        size: Voxels along each of the two axes, multiples of ``MULTIPLE``.
    """

    def __init__(self, train: list[dict[str, str]]) -> None:
        low, high = [], []
        for case in train:
            label = read_labels(case["label"])[0]
            found, middle = np.argwhere(label.any(2)), np.array(label.shape[:2]) // 2
            low.append(found.min(0) - middle)
            high.append(found.max(0) + 1 - middle)
        start = np.min(low, 0) - MARGIN
        extent = np.max(high, 0) + MARGIN - start
        size = -(-extent // MULTIPLE) * MULTIPLE
        self.shift: list[int] = (start + extent // 2).tolist()
        self.size: list[int] = size.tolist()

    def window(self, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where the box lies in a slice of this shape, and where what it cuts out lies in the box."""
        inside, placed = [], []
        for length, shift, size in zip(shape, self.shift, self.size, strict=True):
            start = length // 2 + shift - size // 2
            first, last = max(start, 0), min(start + size, length)
            inside.append(slice(first, last))
            placed.append(slice(first - start, last - start))
        return (inside[0], inside[1]), (placed[0], placed[1])

    def cut(self, volume: Any) -> Any:
        """The box out of (channels, x, y, slices), 0 where the slice ends before it: (slices, channels, x, y)."""
        inside, placed = self.window(tuple(volume.shape[1:3]))
        made = volume.new_zeros(volume.shape[0], *self.size, volume.shape[3])
        made[(slice(None), *placed)] = volume[(slice(None), *inside)]
        return made.permute(3, 0, 1, 2).contiguous()
