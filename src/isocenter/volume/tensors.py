"""The same resampling for tensors, on whatever device they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isocenter.errors import GeometryError
from isocenter.volume.grid import Affine
from isocenter.volume.mapping import aligned_axes, shrink_factors
from isocenter.volume.resample import Interpolation, axis_tables, cubic_axes, fill_beyond

if TYPE_CHECKING:
    from torch import Tensor

    from isocenter.volume.taps import AxisTaps

__all__ = ["resample_tensor"]


def resample_tensor(
    values: Tensor,
    matrix: Affine,
    shape: tuple[int, int, int],
    *,
    interpolation: Interpolation = "linear",
    antialias: bool = True,
    fill: float | None = None,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Tensor:
    """`isocenter.volume.resample_array` for a tensor ``(channel, slice, row, column)``, made on its device.

    The weights are the same; float32 sums may differ in their last digits. Differentiable.

    Raises:
        GeometryError: The grids are turned or sheared against each other, or ``"nearest"`` is asked for.

    Example:
        >>> import torch
        >>> finer = np.diag([1.0, 1.0, 0.5, 1.0])
        >>> resample_tensor(torch.tensor([[[[0, 10, 30]]]]), finer, (1, 1, 5)).ravel().tolist()
        [0.0, 5.0, 10.0, 20.0, 30.0]
    """
    maps = aligned_axes(matrix, shape)
    if maps is None or interpolation == "nearest":
        raise GeometryError("tensors are resampled between parallel axes, linear or cubic; use resample_array")
    widen = shrink_factors(matrix) if antialias else (1.0, 1.0, 1.0)
    tables = axis_tables(values.shape[1:], maps, cubic_axes(interpolation, spacing), widen)
    out = values.float()
    # where most is lost first: less is left for the axes that follow
    for axis in sorted(range(3), key=lambda a: len(tables[a].first) / values.shape[1 + a]):
        out = _along(out, tables[axis], axis + 1)
    out = out.permute(0, *(1 + int(a) for a in np.argsort([m.axis for m in maps]))).contiguous()
    if fill is not None:
        fill_beyond(out, maps, values.shape[1:], fill)
    return out


def _along(values: Tensor, taps: AxisTaps, axis: int) -> Tensor:
    import torch

    first = torch.from_numpy(taps.first).to(values.device)
    weights = torch.from_numpy(taps.weights).to(values.device)
    sides = [1] * values.ndim
    sides[axis] = -1
    total = values.index_select(axis, first) * weights[0].reshape(sides)
    for t in range(1, taps.taps):
        total = torch.addcmul(total, values.index_select(axis, first + t), weights[t].reshape(sides))
    return total
