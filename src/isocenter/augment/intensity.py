"""Random changes of values that scanners and protocols make: noise, blur, contrast, brightness, resolution, gamma.

`draw_intensity` draws what happens to a patch from its keyed generator, always by the same number of draws;
`apply_intensity` does it and is pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from isocenter.augment.planes import Planes

if TYPE_CHECKING:
    from isocenter.plan import AugmentationSpec

__all__ = ["IntensityChange", "apply_intensity", "augment_intensity", "draw_intensity"]


@dataclass(frozen=True)
class IntensityChange:
    """What happens to the values of a patch, in this order; by default nothing.

    Attributes:
        noise: Standard deviation of normal noise that is added.
        blur: Sigma of a Gaussian in the plane of the slices, in voxels; less than 0.2 does nothing. The thick axis is
            coarse enough as it is.
        contrast: Factor about the mean, above 0.
        brightness: Added.
        low_resolution: Factor, at least 1, by which rows and columns are coarsened (nearest) and brought back (linear).
        gamma: Exponent of the values scaled to 0..1; mean and standard deviation are kept.
        key: Of the noise, 0 to 2**64 - 1: the noise of a voxel depends on it and on the voxel's place alone.
    """

    noise: float = 0.0
    blur: float = 0.0
    contrast: float = 1.0
    brightness: float = 0.0
    low_resolution: float = 1.0
    gamma: float = 1.0
    key: int = 0


def draw_intensity(rng: np.random.Generator, spec: AugmentationSpec) -> IntensityChange:
    """Changes of one patch.

    Sources: the set of changes follows nnU-Net (Isensee et al. 2021, supplement 4).

    Example:
        >>> from isocenter.plan import AugmentationSpec
        >>> change = draw_intensity(np.random.default_rng(0), AugmentationSpec(noise=0.5, intensity_probability=1))
        >>> 0 <= change.noise <= 0.5, change.gamma
        (True, 1.0)
    """
    chance = rng.random(6) < spec.intensity_probability
    amount = [float(a) if happens else 0.0 for a, happens in zip(rng.uniform(-1.0, 1.0, 6), chance, strict=True)]
    return IntensityChange(
        noise=abs(amount[0]) * spec.noise,
        blur=abs(amount[1]) * spec.blur,
        contrast=1.0 + amount[2] * spec.contrast,
        brightness=amount[3] * spec.brightness,
        low_resolution=1.0 + abs(amount[4]) * (spec.low_resolution - 1.0),
        gamma=math.exp(amount[5] * spec.gamma),
        key=int(rng.integers(2**62)),
    )


def augment_intensity(image: Tensor, spec: AugmentationSpec, rng: np.random.Generator) -> Tensor:
    """Changed copy of a normalised patch: `draw_intensity`, then `apply_intensity`.

    Example:
        >>> from isocenter.plan import AugmentationSpec
        >>> spec = AugmentationSpec(brightness=0.5, intensity_probability=1)
        >>> patch = augment_intensity(torch.zeros(1, 2, 4, 4), spec, np.random.default_rng(0))
        >>> patch.shape, bool((patch == patch[0, 0, 0, 0]).all())
        (torch.Size([1, 2, 4, 4]), True)
    """
    return apply_intensity(image, draw_intensity(rng, spec))


def apply_intensity(
    image: Tensor, change: IntensityChange, *, threads: int | None = 1, out: Tensor | None = None
) -> Tensor:
    """Changed copy of a normalised patch ``(channel, slice, row, column)``; all channels change alike.

    Args:
        image: Float.
        change: What happens.
        threads: At most so many, ``None`` for one a core. The result does not depend on it.
        out: Float32 and contiguous, of the same shape: where to write. ``image`` itself is allowed.

    Returns:
        ``out``, or a new float32 tensor.

    Example:
        >>> patch = torch.arange(8.0).reshape(1, 1, 2, 4)
        >>> apply_intensity(patch, IntensityChange(contrast=2, brightness=10)).ravel().tolist()
        [6.5, 8.5, 10.5, 12.5, 14.5, 16.5, 18.5, 20.5]
    """
    out = torch.empty(image.shape) if out is None else out
    if out is not image:
        out.copy_(image)
    planes = out.numpy().reshape(-1, *out.shape[-2:])
    if planes.size:
        Planes(planes, threads).change(change)
    return out
