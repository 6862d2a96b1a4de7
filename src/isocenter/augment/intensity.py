"""Random changes of values that scanners and protocols make: brightness, contrast, gamma, noise, blur, resolution.

Each change draws its own parameters from the keyed generator of the patch, in a fixed order, and is then pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from isocenter.plan import AugmentationSpec

__all__ = ["augment_intensity"]


def augment_intensity(image: Tensor, spec: AugmentationSpec, rng: np.random.Generator) -> Tensor:
    """Changed copy of a normalised patch ``(channel, slice, row, column)``; all channels change alike.

    Sources: the set of changes follows nnU-Net (Isensee et al. 2021, supplement 4).

    Example:
        >>> from isocenter.plan import AugmentationSpec
        >>> spec = AugmentationSpec(brightness=0.5, intensity_probability=1)
        >>> patch = augment_intensity(torch.zeros(1, 2, 4, 4), spec, np.random.default_rng(0))
        >>> patch.shape, bool((patch == patch[0, 0, 0, 0]).all())
        (torch.Size([1, 2, 4, 4]), True)
    """
    chance = rng.random(6) < spec.intensity_probability
    amount = rng.uniform(-1.0, 1.0, 6)
    key = int(rng.integers(2**62))
    if chance[0] and spec.noise:
        generator = torch.Generator().manual_seed(key)
        image = image + torch.randn(image.shape, generator=generator) * (abs(amount[0]) * spec.noise)
    if chance[1] and spec.blur:
        image = _blur(image, abs(amount[1]) * spec.blur)
    if chance[2] and spec.contrast:
        mean = image.mean()
        image = (image - mean) * float(1 + amount[2] * spec.contrast) + mean
    if chance[3] and spec.brightness:
        image = image + float(amount[3] * spec.brightness)
    if chance[4] and spec.low_resolution > 1:
        image = _coarsen(image, 1 + abs(amount[4]) * (spec.low_resolution - 1))
    if chance[5] and spec.gamma:
        image = _gamma(image, float(np.exp(amount[5] * spec.gamma)))
    return image


def _blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian in the plane of the slices; the thick axis is coarse enough as it is."""
    if sigma < 0.2:
        return image
    reach = max(1, int(3 * sigma + 0.5))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).float()
    planes = image.reshape(-1, 1, *image.shape[-2:])
    reach_y, reach_x = (min(reach, n - 1) for n in image.shape[-2:])
    planes = functional.pad(planes, (reach_x, reach_x, reach_y, reach_y), mode="reflect")
    y, x = (weights[reach - r : reach + r + 1] / weights[reach - r : reach + r + 1].sum() for r in (reach_y, reach_x))
    planes = functional.conv2d(planes, y.reshape(1, 1, -1, 1))
    return functional.conv2d(planes, x.reshape(1, 1, 1, -1)).reshape(image.shape)


def _coarsen(image: Tensor, factor: float) -> Tensor:
    """Fewer samples in the plane, brought back: what a coarser scan looks like."""
    size = [max(2, round(n / factor)) for n in image.shape[-2:]]
    planes = image.reshape(-1, 1, *image.shape[-2:])
    small = functional.interpolate(planes, size=size, mode="nearest")
    return functional.interpolate(small, size=image.shape[-2:], mode="bilinear", align_corners=False).reshape(
        image.shape
    )


def _gamma(image: Tensor, gamma: float) -> Tensor:
    """Power of the values scaled to 0..1, with mean and deviation kept."""
    low, high = image.amin(), image.amax()
    if float(high - low) < 1e-6:
        return image
    mean, deviation = image.mean(), image.std()
    bent = ((image - low) / (high - low)).clamp(0, 1) ** gamma
    return (bent - bent.mean()) / bent.std().clamp_min(1e-6) * deviation + mean
