"""Boundary loss: how far beyond the true boundary the prediction reaches."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from isocenter.tasks.losses.contract import Loss, loss
from isocenter.tasks.losses.seen import Seen

__all__ = ["Boundary", "signed_distance"]


def signed_distance(hot: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance to the boundary of each structure in voxels: positive outside, negative inside.

    Args:
        hot: ``(structure, D, H, W)``; one slice is measured in two dimensions.

    Returns:
        The same shape; zeros for a structure that is not there, since it has no boundary, or fills everything.

    Example:
        >>> signed_distance(np.array([[[[0, 0, 1, 1, 1]]]], bool))[0, 0, 0].tolist()
        [2.0, 1.0, 0.0, -1.0, -2.0]
    """
    from scipy.ndimage import distance_transform_edt as distance

    out = np.zeros(hot.shape, np.float32)
    for k, mask in enumerate(hot):
        if mask.any() and not mask.all():
            # the boundary voxels of the structure are at 0, as in the paper's code
            out[k] = distance(~mask) * ~mask - (distance(mask) - 1) * mask
    return out


@loss("boundary")
class Boundary(Loss):
    """Mean of probability times signed distance: mass far outside costs, mass deep inside pays (Kervadec et al. 2019).

    It has no bound below and says nothing of structures that are absent, so use it beside an overlap loss, with a
    weight of about 0.01 to 0.1. Distances are in voxels of the patch.
    """

    finest_only: ClassVar[bool] = True

    def __call__(self, seen: Seen) -> Tensor:
        """See `Loss`."""
        share = seen.share[:, seen.first :]
        values = (share * seen.extra["boundary"].to(share) * seen.mask).sum((0, 2, 3, 4))
        counts = seen.mask.expand_as(share).sum((0, 2, 3, 4)).clamp_min(1)
        present = (seen.hot[:, seen.first :] * seen.mask).sum((0, 2, 3, 4)) > 0
        return seen.over_structures(values / counts, present)

    def prepare(self, hot: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Signed distances; what is unannotated counts as outside."""
        return signed_distance(hot & known)
