"""Boundary loss: how far beyond the true boundary the prediction reaches."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from isocenter.tasks.losses.contract import Loss, loss
from isocenter.tasks.losses.seen import Seen

__all__ = ["Boundary", "signed_distance"]

Step = Annotated[float, Field(gt=0)]


def signed_distance(
    masks: NDArray[np.bool_], steps: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> NDArray[np.float32]:
    """Distance to the boundary of each structure: positive outside, negative inside.

    Args:
        masks: ``(structure, D, H, W)``; one slice is measured in two dimensions.
        steps: Distance from one slice, row and column to the next.

    Returns:
        The same shape; zeros for a structure that is not there, since it has no boundary, or fills everything.

    Example:
        >>> signed_distance(np.array([[[[0, 0, 1, 1, 1]]]], bool))[0, 0, 0].tolist()
        [2.0, 1.0, 0.0, -1.0, -2.0]
    """
    from scipy.ndimage import distance_transform_edt as distance

    out = np.zeros(masks.shape, np.float32)
    # the outermost voxels of the structure are at 0, as in the paper's code
    nearest = min((step for step, size in zip(steps, masks.shape[1:], strict=True) if size > 1), default=0.0)
    for k, mask in enumerate(masks):
        if mask.any() and not mask.all():
            out[k] = np.where(mask, nearest - distance(mask, steps), distance(~mask, steps))
    return out


@loss("boundary")
class Boundary(Loss):
    """Mean of probability times signed distance: mass far outside costs, mass deep inside pays (Kervadec et al. 2019).

    It has no bound below and says nothing of background or of structures that are absent, so use it beside an overlap
    loss, with a weight of about 0.01 to 0.1.

    Attributes:
        steps: Distance from one slice, row and column of the patch to the next; ``(5, 1, 1)`` where slices lie five
            times as far apart as pixels.
    """

    finest_only: ClassVar[bool] = True

    steps: tuple[Step, Step, Step] = (1.0, 1.0, 1.0)

    def __call__(self, seen: Seen) -> Tensor:
        """See `Loss`."""
        prepared = seen.prepared.get(self.kind)
        if prepared is None:  # labels that no loader has seen, such as those another network drew
            prepared = self._distances(seen)
        found = seen.probabilities[:, seen.first :]
        axes = (0, 2, 3, 4)
        values = (found * prepared.to(found) * seen.mask).sum(axes)
        counts = seen.mask.expand_as(found).sum(axes).clamp_min(1)
        present = (seen.one_hot[:, seen.first :] * seen.mask).sum(axes) > 0
        return seen.over_structures(values / counts, present)

    def _distances(self, seen: Seen) -> Tensor:
        truth = seen.one_hot[:, seen.first :].bool().cpu().numpy()
        known = seen.known.cpu().numpy()
        return torch.from_numpy(np.stack([self.prepare(t, k) for t, k in zip(truth, known, strict=True)]))

    def prepare(self, masks: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Signed distances; what is unannotated counts as outside."""
        return signed_distance(masks & known, self.steps)
