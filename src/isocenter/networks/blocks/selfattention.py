"""Self-attention over local windows plus global tokens; its memory grows linearly with the number of voxels.

A voxel attends to the voxels of its window and to a few global tokens; the global tokens attend to everything. What is
far apart meets in them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["GlobalLocalBlock", "WindowAttention"]

Sizes = Sequence[int]


class WindowAttention(nn.Module):
    """Multi-head attention of windows with global tokens.

    Args:
        channels: In and out, a multiple of ``heads``.
        heads: Attention heads.
        window: Edge of a window along each axis.

    Reference:
        Beltagy et al., *Longformer*, 2020 (local windows and global tokens); Liu et al., *Swin Transformer*, ICCV 2021.

    Example:
        >>> attention = WindowAttention(8, heads=2, window=(2, 4, 4))
        >>> voxels, tokens = attention(torch.ones(1, 3, 6, 6, 8), torch.ones(1, 5, 8))
        >>> voxels.shape, tokens.shape
        (torch.Size([1, 3, 6, 6, 8]), torch.Size([1, 5, 8]))
    """

    def __init__(self, channels: int, *, heads: int, window: Sizes) -> None:
        super().__init__()
        self.heads, self.window = heads, tuple(window)
        self.project = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            x: ``(batch, *axes, channel)``.
            tokens: ``(batch, token, channel)``; there may be none.

        Returns:
            Both, of the same shapes.
        """
        batch, size = x.shape[0], tuple(x.shape[1:-1])
        voxels, glob = self.project(x), self.project(tokens)
        windows, mask = _windows(voxels, self.window)
        count = windows.shape[1]
        q, k, v = self._split(windows.flatten(0, 1))
        gq, gk, gv = self._split(glob)
        k, v = (torch.cat([a, _each(b, count)], 2) for a, b in ((k, gk), (v, gv)))
        if mask is not None:
            seen = torch.ones(count, tokens.shape[1], dtype=torch.bool, device=x.device)
            mask = torch.cat([mask, seen], 1).repeat(batch, 1)[:, None, None]
        local = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        merged = _unwindow(self._merge(local).unflatten(0, (batch, count)), size, self.window)
        if tokens.shape[1] == 0:
            return self.out(merged), tokens
        _, ak, av = self._split(voxels.flatten(1, -2))
        far = functional.scaled_dot_product_attention(gq, torch.cat([ak, gk], 2), torch.cat([av, gv], 2))
        return self.out(merged), self.out(self._merge(far))

    def _split(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(batch, length, 3 * channel)`` to query, key, value of ``(batch, head, length, channel / head)``."""
        q, k, v = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def _merge(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)


class GlobalLocalBlock(nn.Module):
    """Where a voxel is (depthwise convolution), attention, and a perceptron, each added to what went in.

    Args:
        dimensions: 2 or 3.
        channels: In and out.
        heads: Attention heads.
        window: Edge of a window along each axis.
        dropout: Share of values dropped after attention and perceptron.

    Reference:
        Position by depthwise convolution: Chu et al., *Conditional positional encodings*, ICLR 2023.
    """

    def __init__(self, dimensions: int, channels: int, *, heads: int, window: Sizes, dropout: float = 0.0) -> None:
        super().__init__()
        kind = nn.Conv3d if dimensions == 3 else nn.Conv2d
        self.place = kind(channels, channels, 3, padding=1, groups=channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads=heads, window=window)
        self.perceptron = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * channels, channels)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, channel, *axes)`` and ``(batch, token, channel)``, both as they came."""
        x = (x + self.place(x)).movedim(1, -1)
        near, far = self.attention(self.norm1(x), self.norm1(tokens))
        x, tokens = x + self.drop(near), tokens + self.drop(far)
        x = x + self.drop(self.perceptron(self.norm2(x)))
        tokens = tokens + self.drop(self.perceptron(self.norm2(tokens)))
        return x.movedim(-1, 1), tokens


def _each(tokens: Tensor, count: int) -> Tensor:
    """The same tokens for every window of a sample."""
    return tokens.unsqueeze(1).expand(-1, count, -1, -1, -1).flatten(0, 1)


def _grid(size: Sizes, window: Sizes) -> tuple[list[int], list[int]]:
    """Windows along each axis, and the size that they cover."""
    counts = [-(-n // w) for n, w in zip(size, window, strict=True)]
    return counts, [c * w for c, w in zip(counts, window, strict=True)]


def _windows(x: Tensor, window: Sizes) -> tuple[Tensor, Tensor | None]:
    """``(batch, window, voxel, channel)``, and which voxels are real ``(window, voxel)`` where some are not."""
    size = tuple(x.shape[1:-1])
    counts, whole = _grid(size, window)
    d = len(size)
    widths = [0, 0] + [w for n, m in zip(reversed(size), reversed(whole), strict=True) for w in (0, m - n)]
    padded = any(widths)
    split = [v for c, w in zip(counts, window, strict=True) for v in (c, w)]
    order = [*range(0, 2 * d, 2), *range(1, 2 * d, 2)]
    parts = (functional.pad(x, widths) if padded else x).reshape(x.shape[0], *split, x.shape[-1])
    parts = parts.permute(0, *[1 + a for a in order], 2 * d + 1)
    flat = parts.reshape(x.shape[0], math.prod(counts), math.prod(window), x.shape[-1])
    if not padded:
        return flat, None
    real = functional.pad(torch.ones(size, dtype=torch.bool, device=x.device), widths[2:])
    return flat, real.reshape(split).permute(order).reshape(math.prod(counts), math.prod(window))


def _unwindow(x: Tensor, size: Sizes, window: Sizes) -> Tensor:
    counts, whole = _grid(size, window)
    d = len(size)
    parts = x.reshape(x.shape[0], *counts, *window, x.shape[-1])
    order = [v for a in range(d) for v in (1 + a, 1 + d + a)]
    full = parts.permute(0, *order, 2 * d + 1).reshape(x.shape[0], *whole, x.shape[-1])
    return full[(slice(None), *[slice(0, n) for n in size])]
