"""Polygons to voxels and back: against another implementation, against exact partitions, and round."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import label
from skimage.measure import points_in_poly

from isocenter.io.dicom.rtstruct.contours import Patch, filled, outlines, united

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=9))


def _drawn(patch: Patch, shape: tuple[int, int]) -> np.ndarray:
    out = np.zeros(shape, np.uint8)
    patch.view(out)[...] = patch.mask
    return out


@given(st.integers(0, 2**32 - 1), st.integers(3, 12))
@settings(max_examples=60)
def test_as_another_implementation_in_general_position(seed: int, count: int) -> None:
    points = np.random.default_rng(seed).random((count, 2)) * (22, 24) - 3  # they cross themselves and reach outside
    voxels = np.argwhere(np.ones((16, 17)))
    expected = points_in_poly(voxels, points).reshape(16, 17)
    clear = _gaps(voxels, points).reshape(16, 17) > 1e-4  # ours rounds points to 1/65536 of a voxel
    np.testing.assert_array_equal(_drawn(filled(points, (16, 17)), (16, 17))[clear], expected[clear])


def _gaps(voxels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distance of each voxel centre to the nearest edge."""
    edges = np.roll(points, -1, axis=0) - points
    to = voxels[:, None] - points
    along = np.clip((to * edges).sum(-1) / (edges**2).sum(-1), 0, 1)
    return np.linalg.norm(to - along[..., None] * edges, axis=-1).min(axis=1)


def test_start_and_direction_play_no_part() -> None:
    points = np.random.default_rng(0).integers(0, 9, (7, 2)).astype(float)  # every corner on a voxel centre
    first = _drawn(filled(points, (9, 9)), (9, 9))
    assert first.any()
    for turned in (points[::-1], np.roll(points, 3, axis=0)):
        np.testing.assert_array_equal(_drawn(filled(turned, (9, 9)), (9, 9)), first)


@given(arrays(np.int64, (4, 4, 2), elements=st.integers(-3, 3)), st.booleans())
@settings(max_examples=60)
def test_structures_that_share_borders_neither_overlap_nor_gap(shifts: np.ndarray, diagonal: bool) -> None:
    """A mesh of quadrangles or triangles whose corners lie on quarters of voxels, many on centres and in line."""
    knots = np.stack(np.meshgrid(*[np.arange(4) * 4.0] * 2, indexing="ij"), axis=-1)
    knots[1:-1, 1:-1] += shifts[1:-1, 1:-1] / 4
    total = np.zeros((13, 13), int)
    for i in range(3):
        for j in range(3):
            a, b, c, d = knots[i, j], knots[i, j + 1], knots[i + 1, j + 1], knots[i + 1, j]
            for polygon in ([a, b, c], [c, d, a]) if diagonal else ([a, b, c, d],):
                total += _drawn(filled(np.array(polygon), (13, 13)), (13, 13))
    expected = np.zeros((13, 13), int)
    expected[:12, :12] = 1  # of the outer border, only the sides towards lower indices
    np.testing.assert_array_equal(total, expected)


def test_noise_below_a_hundred_thousandth_of_a_voxel_decides_nothing() -> None:
    rng, square = np.random.default_rng(0), np.array([[1.0, 1], [1, 5], [5, 5], [5, 1]])
    for _ in range(20):
        moved = filled(square + rng.uniform(-1e-6, 1e-6, (4, 2)), (9, 9))
        np.testing.assert_array_equal(_drawn(moved, (9, 9))[1:5, 1:5], 1)
        assert moved.count == 16


def test_what_lies_outside_is_left_out() -> None:
    beyond = filled(np.array([[-20.0, -20], [-20, 2.5], [1.5, 2.5], [1.5, -20]]), (4, 5))
    np.testing.assert_array_equal(_drawn(beyond, (4, 5)), np.pad(np.ones((2, 3), int), ((0, 2), (0, 2))))
    assert filled(np.array([[9.0, 9], [9, 12], [12, 12]]), (4, 5)).count == 0
    assert filled(np.array([[0.2, 0.2], [0.2, 0.8], [0.8, 0.8]]), (4, 5)).count == 0  # between the centres


@given(MASKS)
@settings(max_examples=150)
def test_masks_come_back(mask: np.ndarray) -> None:
    """Whether a reader cuts out (even-odd) or unites contours; one a part; each with the area of its voxels."""
    contours = outlines(mask)
    patches = [filled(contour, mask.shape) for contour in contours]
    assert len(patches) == label(mask)[1]
    if patches:
        for any_of in (False, True):
            np.testing.assert_array_equal(_drawn(united(patches, any_of=any_of), mask.shape), mask)
    for contour, patch in zip(contours, patches, strict=True):
        row, column = contour.T
        assert abs(np.dot(row, np.roll(column, 1)) - np.dot(column, np.roll(row, 1))) / 2 == patch.count
        steps = np.diff(contour, axis=0, append=contour[:1])
        assert ((steps == 0).sum(axis=1) == 1).all()  # along borders


def test_outlines_of_small_things() -> None:
    (single,) = outlines(np.eye(1))
    assert sorted(single.tolist()) == [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]
    assert len(outlines(np.eye(3))) == 3  # parts that touch in corners
    ring = np.ones((3, 3))
    ring[1, 1] = 0
    (contour,) = outlines(ring)
    assert len(contour) == 10  # 4 + 4, and the cut has two ends
    assert outlines(np.zeros((3, 3))) == []


def test_partial_overlap_is_told_from_nesting() -> None:
    def box(low: int, high: int) -> Patch:
        return filled(np.array([[low, low], [low, high], [high, high], [high, low]]) - 0.5, (20, 20))

    assert box(2, 10).crosses(box(4, 6)) == box(4, 6).crosses(box(2, 10)) == 0
    assert box(2, 6).crosses(box(6, 9)) == 0
    assert box(2, 8).crosses(box(6, 14)) == 4
    assert box(2, 8).crosses(box(3, 9)) == 36 - 25
