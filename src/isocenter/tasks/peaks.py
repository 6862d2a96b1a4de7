"""Objects as peaks on a coarse grid of cells: what a detection network learns, and how its outputs are read.

The cell in which the middle of an object lies is a peak of its class (Zhou et al. 2019, *Objects as points*); there the
network tells where the middle lies from the middle of the cell, in cells, and the logarithm of the box's edges, in
cells. Those six numbers determine the six faces, also of a box so small that it misses the middle of its cell.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from isocenter.errors import PlanError

__all__ = ["box_losses", "cell_places", "decode_boxes", "draw_peaks", "focal_loss", "read_peaks", "strides_of"]

NEAR = 0.3
"""Least height of an object's peak at cells that learn its box."""
_MIN_SIGMA = 0.5
_MAX_LOG = 6.0


def strides_of(size: Sequence[int], cells: Sequence[int]) -> tuple[int, int, int]:
    """Voxels a cell along each axis: the power of two by which ``size`` voxels make ``cells`` cells, rounded up.

    Raises:
        PlanError: No power of two does.

    Example:
        >>> strides_of((20, 128, 130), (10, 32, 33))
        (2, 4, 4)
    """
    found = []
    for n, count in zip(size, cells, strict=True):
        stride = 1
        while stride * count < n:
            stride *= 2
        if -(-n // stride) != count:
            raise PlanError(
                f"network: {count} cells for {n} voxels; a head for boxes needs strides of 1, 2, 4, 8 ..."
                " (network.options.strides)"
            )
        found.append(stride)
    z, y, x = found
    return z, y, x


def cell_places(cells: Sequence[int], strides: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Middle of each cell in voxel indices, ``(3, d, h, w)``."""
    axes = [(torch.arange(n, device=device) + 0.5) * s - 0.5 for n, s in zip(cells, strides, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def draw_peaks(
    boxes: Tensor, classes: Tensor, *, count: int, cells: Sequence[int], strides: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """What the network should give.

    Args:
        boxes: ``(batch, n, 6)``, n at least 1.
        classes: ``(batch, n)``, negative where a box is padding.
        count: Number of classes.
        cells: ``(d, h, w)``.
        strides: Voxels a cell.

    Returns:
        Heat ``(batch, class, d, h, w)``: Gaussian peaks, 1 at the cells of middles, sigma a sixth of the edges but at
        least half a cell.
        Weight ``(batch, d, h, w)`` of each cell for boxes: height of the nearest object's peak, 0 below `NEAR`.
        Boxes ``(batch, 6, d, h, w)`` of that object, coded as in the module's text.
    """
    step = torch.tensor(list(strides), dtype=boxes.dtype, device=boxes.device)
    middles, edges = (boxes[..., :3] + boxes[..., 3:]) / 2, (boxes[..., 3:] - boxes[..., :3]).clamp_min(1e-3)
    peaks = (middles + 0.5) / step - 0.5
    sigma = (edges / step / 6).clamp_min(_MIN_SIGMA)
    parts = []
    for axis, n in enumerate(cells):
        gap = torch.arange(n, device=boxes.device) - peaks[..., axis, None]
        part = torch.exp(-0.5 * (gap / sigma[..., axis, None]) ** 2)
        # a middle between two cells makes both of them a peak: which one it is nearer to need not be learned
        parts.append(part / part.amax(-1, keepdim=True))
    z, y, x = parts
    height = z[..., None, None] * y[..., None, :, None] * x[..., None, None, :]
    height = height * (classes >= 0)[..., None, None, None]
    of_class = [height * (classes == k)[..., None, None, None] for k in range(count)]
    heat = torch.stack([h.amax(1) for h in of_class], 1)
    weight, owner = height.max(1)
    place = cell_places(cells, strides, boxes.device)
    offset = (_of(middles, owner) - place) / step.view(1, 3, 1, 1, 1)
    wanted = torch.cat([offset, _of((edges / step).log(), owner)], 1)
    return heat, weight.where(weight >= NEAR, 0.0), wanted


def _of(values: Tensor, owner: Tensor) -> Tensor:
    """``(batch, n, 3)`` picked by ``(batch, d, h, w)`` numbers: ``(batch, 3, d, h, w)``."""
    picked = values.gather(1, owner.flatten(1)[..., None].expand(-1, -1, 3))
    return picked.transpose(1, 2).reshape(len(values), 3, *owner.shape[1:])


def focal_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """Sum of the penalty-reduced focal loss (Law & Deng 2018; Lin et al. 2017); cells near a peak cost less."""
    share = logits.sigmoid()
    hit = -((1 - share) ** 2) * functional.logsigmoid(logits)
    miss = -((1 - heat) ** 4) * share**2 * functional.logsigmoid(-logits)
    return torch.where(heat == 1, hit, miss).sum()


def box_losses(code: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean, over cells, of smooth L1 of the code and of ``1 - GIoU`` of the boxes (Rezatofighi et al. 2019).

    Args:
        code: ``(batch, 6, d, h, w)``, from the network.
        wanted: Likewise.
        weight: ``(batch, d, h, w)``; 0 where there is nothing to learn.
    """
    chosen = weight > 0
    found, real = (c.movedim(1, -1)[chosen] for c in (code, wanted))
    apart = functional.smooth_l1_loss(found, real, reduction="none", beta=0.5).mean(1)
    lost = apart + 1 - _giou(_faces(found), _faces(real))
    return (lost * weight[chosen]).sum() / weight.sum().clamp_min(1e-6)


def _faces(code: Tensor) -> Tensor:
    """Low and high faces in cells from the middle of the cell, ``(n, 6)`` to ``(n, 6)``."""
    half = code[:, 3:].clamp(-_MAX_LOG, _MAX_LOG).exp() / 2
    return torch.cat([code[:, :3] - half, code[:, :3] + half], 1)


def _giou(a: Tensor, b: Tensor) -> Tensor:
    low, high = torch.maximum(a[:, :3], b[:, :3]), torch.minimum(a[:, 3:], b[:, 3:])
    common = (high - low).clamp_min(0).prod(1)
    union = (a[:, 3:] - a[:, :3]).prod(1) + (b[:, 3:] - b[:, :3]).prod(1) - common
    hull = (torch.maximum(a[:, 3:], b[:, 3:]) - torch.minimum(a[:, :3], b[:, :3])).prod(1)
    return common / union - (hull - union) / hull


def decode_boxes(code: Tensor, strides: Sequence[int]) -> Tensor:
    """Boxes ``(6, d, h, w)`` in voxels of the window, edges, from the network's code of the same shape."""
    step = torch.tensor(list(strides), dtype=code.dtype).view(3, 1, 1, 1)
    middles = cell_places(code.shape[1:], strides) + code[:3] * step
    half = code[3:].clamp(-_MAX_LOG, _MAX_LOG).exp() * step / 2
    return torch.cat([middles - half, middles + half])


def read_peaks(heat: Tensor, boxes: Tensor, *, least: float, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Local maxima of a window, the highest first.

    Args:
        heat: Probabilities ``(class, d, h, w)``.
        boxes: ``(6, d, h, w)``.
        least: Lowest probability.
        limit: Most objects.

    Returns:
        Boxes ``(n, 6)``, probabilities ``(n,)``, classes ``(n,)``.
    """
    highest = functional.max_pool3d(heat[None], 3, stride=1, padding=1)[0]
    places = torch.nonzero((heat == highest) & (heat >= least))
    scores = heat[tuple(places.T)]
    order = scores.argsort(descending=True, stable=True)[:limit]
    places = places[order]
    return boxes[:, *places[:, 1:].T].T, scores[order], places[:, 0]
