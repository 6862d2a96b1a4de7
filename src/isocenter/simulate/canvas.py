"""Painting anatomy into a few image planes at a time.

Bodies are composited in order, later ones over earlier ones. The share of a pixel that a body covers follows from the
distance to its surface, so edges carry the partial volume of the pixel; labels are decided at the pixel centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isocenter.simulate.shapes import Field
from isocenter.simulate.waves import Warp
from isocenter.volume import Grid, Points

__all__ = ["Box", "Slab", "Tubes"]

Box = tuple[slice, slice, slice]
_BEYOND = 1e3


@dataclass(frozen=True, eq=False)
class Tubes:
    """Many conical segments with round caps, of one material, in patient coordinates.

    Attributes:
        starts: ``(n, 3)`` LPS mm.
        ends: ``(n, 3)`` LPS mm; equal to the start for a ball.
        radii: ``(n, 2)`` mm at start and end.
        hu: Value of the material, of its inside where it has a ``rim``.
        label: Value in the label map; 0 clears what was there, ``None`` leaves it.
        stretch: Factors along x, y, z by which the section is longer than its radius (ribs are higher than thick).
        rim: Thickness in mm and value in HU of a shell (cortical bone).
    """

    starts: Points
    ends: Points
    radii: NDArray[np.float64]
    hu: float
    label: int | None = None
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    rim: tuple[float, float] | None = None

    @staticmethod
    def path(points: Points, radii: list[float] | NDArray[np.float64] | float) -> tuple[Points, Points, Points]:
        """Starts, ends and radii of the segments along a polyline."""
        points = np.asarray(points, dtype=np.float64)
        r = np.broadcast_to(np.asarray(radii, dtype=np.float64), len(points))
        return points[:-1], points[1:], np.stack([r[:-1], r[1:]], axis=1)

    def boxes(self, grid: Grid, margin_mm: float) -> NDArray[np.int64]:
        """Index box of each segment on ``grid``, ``(n, 2, 3)``: first index and index after the last, clipped."""
        inverse = np.linalg.inv(grid.affine[:3, :3])
        a, b = ((p - grid.affine[:3, 3]) @ inverse.T for p in (self.starts, self.ends))
        reach = (self.radii.max(axis=1, keepdims=True) + margin_mm) * np.asarray(self.stretch)
        half = reach @ np.abs(inverse).T
        low = np.ceil(np.minimum(a, b) - half)
        high = np.floor(np.maximum(a, b) + half) + 1
        return np.stack([np.clip(low, 0, grid.shape), np.clip(high, 0, grid.shape)], axis=1).astype(np.int64)


@dataclass(eq=False)
class Slab:
    """Planes of an image while they are painted.

    Attributes:
        grid: The planes.
        warp: Change of shape between the patient and the reference anatomy.
        labelled: Which planes get labels, ``None`` for all; labels of the others stay 0.
        hu: Values, starts as air.
        label: Label map.
    """

    grid: Grid
    warp: Warp
    labelled: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        self.hu: Field = np.full(self.grid.shape, -1000.0, np.float32)
        self.label: NDArray[np.uint8] = np.zeros(self.grid.shape, np.uint8)
        self.x, self.y, self.z = self.warp.on(self.grid)
        self.pixel_mm = float(np.prod(self.grid.spacing_mm[1:])) ** 0.5
        every = np.ones(self.grid.shape[0], np.bool_)
        self._wanted: NDArray[np.bool_] = every if self.labelled is None else self.labelled

    def box(self, low: tuple[float, float, float], high: tuple[float, float, float]) -> Box | None:
        """Index box that holds the reference-space box from ``low`` to ``high`` (x, y, z), or ``None``."""
        scale, reach = np.asarray(self.warp.scale), self.warp.reach_mm
        a, b = np.minimum(np.asarray(low) * scale, 1e6) - reach, np.asarray(high) * scale + reach
        corners = np.stack(np.meshgrid(*zip(a, b, strict=True), indexing="ij"), -1).reshape(-1, 3)
        index = self.grid.to_index(corners)
        first = np.clip(np.ceil(index.min(axis=0)), 0, self.grid.shape).astype(int)
        last = np.clip(np.floor(index.max(axis=0)) + 1, 0, self.grid.shape).astype(int)
        if (first >= last).any():
            return None
        return (slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2]))

    @cached_property
    def all(self) -> Box:
        """The whole slab."""
        return (slice(0, self.grid.shape[0]), slice(0, self.grid.shape[1]), slice(0, self.grid.shape[2]))

    def at(self, box: Box) -> tuple[Field, Field, Field]:
        """Reference x, y and z in ``box``."""
        return self.x[box], self.y[box], self.z[box]

    def paint(self, box: Box, distance: Field, hu: Field | float, label: int | None = None) -> None:
        """Put a body over what is there.

        Args:
            box: Where.
            distance: Signed distance to its surface in mm, negative inside; overwritten.
            hu: Its value, a number or a field on ``box``.
            label: Value in the label map; ``None`` leaves it.
        """
        if label is not None:
            self._mark(box, distance, label)
        share = distance
        share *= -1.0 / self.pixel_mm
        share += 0.5
        np.clip(share, 0.0, 1.0, out=share)
        self.blend(box, share, hu)

    def blend(self, box: Box, share: Field, hu: Field | float) -> None:
        """Replace ``share`` (0..1) of what is in ``box`` by a material of value ``hu``."""
        target = self.hu[box]
        change = hu - target
        change *= share
        target += change

    def _mark(self, box: Box, distance: Field, label: int) -> None:
        wanted = self._wanted[box[0]]
        if wanted.all():
            np.copyto(self.label[box], label, where=distance < 0)
            return
        part = self.label[box]
        for plane in np.flatnonzero(wanted):
            np.copyto(part[plane], label, where=distance[plane] < 0)

    def tubes(self, tubes: Tubes) -> None:
        """Put tubes over what is there. Segments of one `Tubes` join without seams."""
        boxes = tubes.boxes(self.grid, self.pixel_mm)
        thin = tubes.radii.max(axis=1) < 0.1 * self.pixel_mm  # covers less than 3 % of a pixel
        todo = np.flatnonzero((boxes[:, 0] < boxes[:, 1]).all(axis=1) & ~thin)
        if not len(todo):
            return
        boxes = boxes[todo]
        first, last = boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)
        shape = last - first
        segment, index = _voxels(boxes)
        d, share = self._near(tubes, todo, segment, index)
        flat = np.ravel_multi_index(tuple(index - first[:, None]), tuple(shape))
        distance = np.full(int(shape.prod()), _BEYOND, np.float32)
        covered = np.zeros(int(shape.prod()), np.float32)
        np.minimum.at(distance, flat, d)
        np.maximum.at(covered, flat, share)
        box = (slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2]))
        self._paint_tubes(box, distance.reshape(shape), covered.reshape(shape), tubes)

    def _paint_tubes(self, box: Box, distance: Field, share: Field, tubes: Tubes) -> None:
        value: Field | float = tubes.hu
        if tubes.rim is not None:
            thickness, rim_hu = tubes.rim
            inner = np.clip((distance + thickness) * (-1.0 / self.pixel_mm) + 0.5, 0.0, 1.0)
            value = rim_hu + (tubes.hu - rim_hu) * inner
        if tubes.label is not None:
            self._mark(box, distance, tubes.label)
        self.blend(box, share, value)

    def _near(
        self, tubes: Tubes, todo: NDArray[np.int64], segment: NDArray[np.int64], index: NDArray[np.int64]
    ) -> tuple[Field, Field]:
        """Distance of voxels to their segments, and the share of each voxel that its segment covers.

        The share is scaled so that the area of a tube thinner than a pixel comes out right.
        """
        shrink = 1.0 / np.asarray(tubes.stretch)
        start = tubes.starts[todo] * shrink
        along = ((tubes.ends[todo] * shrink) - start).astype(np.float32)
        length2 = (along**2).sum(axis=1)
        inverse = np.divide(1.0, length2, out=np.zeros_like(length2), where=length2 > 0)
        dot = np.zeros(len(segment), np.float32)
        squared = np.zeros(len(segment), np.float32)
        for world in range(3):
            part = ((self.grid.affine[world, 3] * shrink[world] - start[:, world]).astype(np.float32))[segment]
            for axis in range(3):
                step = self.grid.affine[world, axis] * shrink[world]
                if step != 0.0:
                    part += index[axis] * np.float32(step)
            dot += part * along[segment, world]
            part *= part
            squared += part
        t = np.clip(dot * inverse[segment], 0.0, 1.0)
        squared -= t * (2.0 * dot - t * length2[segment])
        r = tubes.radii[todo].astype(np.float32)
        distance = np.sqrt(np.maximum(squared, 0.0)) - r[segment, 0] - t * (r[:, 1] - r[:, 0])[segment]
        w, mean = self.pixel_mm, r.mean(axis=1)
        wide, narrow = mean**2 / (mean**2 + w**2 / 12), 3 * w * mean**2 / (mean + w / 2) ** 3
        share = np.clip(0.5 - distance / w, 0.0, 1.0) * np.where(mean > w / 2, wide, narrow)[segment]
        return distance.astype(np.float32), share.astype(np.float32)


def _voxels(boxes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every voxel of every index box ``(n, 2, 3)``: number of its box ``(m,)``, its index ``(3, m)``."""
    sides = boxes[:, 1] - boxes[:, 0]
    count = sides.prod(axis=1)
    segment = np.repeat(np.arange(len(boxes)), count)
    inner = np.arange(len(segment)) - (np.cumsum(count) - count)[segment]
    rest, column = np.divmod(inner, sides[segment, 2])
    plane, row = np.divmod(rest, sides[segment, 1])
    index = np.stack([plane, row, column])
    index += boxes[segment, 0].T
    return segment, index
