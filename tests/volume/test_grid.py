"""Lattices in patient space: indices, millimetres, names of directions."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from tests.volume.lattices import ORIENTATIONS, grids, turned

from isocenter.errors import GeometryError
from isocenter.volume import Grid

VECTORS = {
    "L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1),
}  # fmt: skip
points = st.lists(st.tuples(*[st.floats(-50, 50)] * 3), min_size=1, max_size=4)


def towards(orientation: str, shape=(2, 3, 4), spacing_mm=(3.0, 2.0, 1.0)) -> Grid:
    """Grid whose axes run exactly towards the letters."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([VECTORS[c] for c in orientation]).T * spacing_mm
    affine[:3, 3] = (7, -8, 9)
    return Grid(shape, affine)


@given(grids(), points)
def test_world_and_index_are_inverse(grid: Grid, where) -> None:
    np.testing.assert_allclose(grid.to_index(grid.to_world(where)), where, atol=1e-7)
    np.testing.assert_allclose(grid.to_world(grid.to_index(where)), where, atol=1e-7)


@given(grids(), grids(), points)
def test_the_map_between_two_grids_goes_through_the_world(a: Grid, b: Grid, where) -> None:
    matrix = a.index_map_to(b)
    direct = np.asarray(where) @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(b.to_world(direct), a.to_world(where), atol=1e-6)


@given(grids(shear=False))
def test_positions_agree_with_simpleitk(grid: Grid) -> None:
    image = sitk.Image(*[int(n) for n in grid.shape[::-1]], sitk.sitkUInt8)
    image.SetSpacing(grid.spacing_mm[::-1])
    image.SetOrigin(grid.origin_mm.tolist())
    image.SetDirection(grid.directions[:, ::-1].ravel().tolist())
    last = [n - 1 for n in grid.shape]
    np.testing.assert_allclose(grid.to_world(last), image.TransformIndexToPhysicalPoint(last[::-1]), atol=1e-6)
    np.testing.assert_allclose(
        grid.center_mm, image.TransformContinuousIndexToPhysicalPoint([n / 2 for n in last[::-1]]), atol=1e-6
    )


@given(grids())
def test_spacing_is_the_distance_of_neighbours_and_volume_their_box(grid: Grid) -> None:
    origin = grid.to_world([0, 0, 0])
    steps = grid.to_world(np.eye(3)) - origin
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), grid.spacing_mm, rtol=1e-9)
    assert grid.voxel_volume_ml == pytest.approx(abs(np.dot(np.cross(steps[0], steps[1]), steps[2])) / 1000)
    assert grid.diagonal_mm >= np.linalg.norm(grid.to_world([n - 1 for n in grid.shape]) - origin) - 1e-9


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_48_orientations_are_named(orientation: str) -> None:
    grid = towards(orientation)
    assert grid.orientation == orientation
    assert grid.obliquity_deg == pytest.approx(0)
    turned_slightly = Rotation.from_euler("xyz", (8, -11, 5), degrees=True).as_matrix()
    affine = grid.affine.copy()
    affine[:3, :3] = turned_slightly @ affine[:3, :3]
    assert Grid(grid.shape, affine).orientation == orientation


@pytest.mark.parametrize("start", ORIENTATIONS[::7])
@pytest.mark.parametrize("goal", ORIENTATIONS)
def test_axes_to_turns_any_orientation_into_any_other(start: str, goal: str) -> None:
    grid = towards(start)
    order, flips = grid.axes_to(goal)
    turned = grid.permute(order).flip(flips)
    assert turned.orientation == goal
    assert sorted(turned.spacing_mm) == sorted(grid.spacing_mm)
    np.testing.assert_allclose(turned.center_mm, grid.center_mm)
    assert grid.reorient(goal.lower()) == turned


@given(st.floats(0, 44), st.sampled_from("xyz"))
def test_obliquity_is_the_angle_of_a_single_turn(degrees: float, axis: str) -> None:
    turn = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([4.0, 2.0, 1.0])
    assert Grid((2, 2, 2), affine).obliquity_deg == pytest.approx(degrees, abs=1e-5)


@given(grids(shapes=st.tuples(*[st.integers(1, 60)] * 3)), st.tuples(*[st.floats(0.3, 9)] * 3))
def test_a_new_spacing_keeps_the_middle_and_nearly_the_edges(grid: Grid, spacing) -> None:
    new = grid.respaced(spacing)
    np.testing.assert_allclose(new.center_mm, grid.center_mm, atol=1e-6)
    np.testing.assert_allclose(new.spacing_mm, spacing, rtol=1e-9)
    np.testing.assert_allclose(new.directions, grid.directions, atol=1e-9)
    for n_new, n_old, s_new, s_old in zip(new.shape, grid.shape, spacing, grid.spacing_mm, strict=True):
        assert n_new == 1 or abs(n_new * s_new - n_old * s_old) <= s_new / 2 + 1e-6
    # no voxel centre comes to lie outside the box of the old voxels
    corners = grid.to_index(new.to_world(np.array(list(product(*[(0, n - 1) for n in new.shape])))))
    assert (corners >= -0.5 - 1e-6).all()
    assert (corners <= np.array(grid.shape) - 0.5 + 1e-6).all()


@given(grids())
def test_equal_grids_have_equal_hashes(grid: Grid) -> None:
    for same in (grid.flip([0]).flip([0]), Grid(grid.shape, grid.affine * 1.0)):
        assert (same == grid) <= (hash(same) == hash(grid))
    assert hash(Grid.regular((1, 1, 1), spacing_mm=(1, 1, 1)).flip([2]).flip([2])) == hash(
        Grid.regular((1, 1, 1), spacing_mm=(1, 1, 1))
    )
    flipped, built = towards("SPL").flip([0]), towards("IPL")
    built = Grid(built.shape, np.column_stack([built.affine[:, :3], flipped.affine[:, 3]]))
    assert built == flipped
    assert hash(built) == hash(flipped)


def test_a_grid_cannot_be_changed_from_outside() -> None:
    affine = np.eye(4)
    grid = Grid((2, 2, 2), affine)
    affine[0, 3] = 99
    grid.origin_mm[:] = 99
    assert grid.origin_mm.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 3] = 5


@given(grids(), st.floats(0.02, 5), st.sampled_from([0, 1, 2]))
def test_a_shift_is_a_difference_beyond_the_tolerance(grid: Grid, shift: float, axis: int) -> None:
    affine = grid.affine.copy()
    affine[axis, 3] += shift
    moved = Grid(grid.shape, affine)
    assert not grid.is_close(moved)
    assert "mm apart" in str(grid.difference(moved))
    assert grid.is_close(moved, tolerance_mm=shift * 1.01)


def test_differences_are_named() -> None:
    grid = towards("SPL")
    assert grid.difference(Grid(grid.shape, grid.affine)) is None
    assert "shape (2, 3, 4) against (2, 3, 5)" in str(grid.difference(Grid((2, 3, 5), grid.affine)))
    assert "spacing (3.0, 2.0, 1.0) against (3.0, 2.0, 1.5)" in str(
        grid.difference(towards("SPL", spacing_mm=(3.0, 2.0, 1.5)))
    )
    assert grid.difference(grid.flip([1])) is not None
    framed = [Grid(grid.shape, grid.affine, frame) for frame in ("1.2", "1.3")]
    assert "frame" in str(framed[0].difference(framed[1]))
    assert grid.is_close(framed[0]), "a frame that only one side states is not compared"


@pytest.mark.parametrize(
    ("shape", "affine", "says"),
    [
        ((2, 2), np.eye(4), "three positive numbers"),
        ((0, 2, 2), np.eye(4), "three positive numbers"),
        ((2, 2, 2), np.eye(3), "4x4"),
        ((2, 2, 2), np.diag([1, 1, np.nan, 1]), "finite"),
        ((2, 2, 2), np.diag([1, 0, 1, 1]), "singular"),
        ((2, 2, 2), np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "singular"),
        ((2, 2, 2), np.ones((4, 4)), "last row"),
    ],
)
def test_impossible_grids_are_refused(shape, affine, says: str) -> None:
    with pytest.raises(GeometryError, match=says):
        Grid(shape, affine)


@pytest.mark.parametrize("orientation", ["SP", "SPP", "SPX", "", "SPLR", "LRS"])
def test_orientations_that_name_no_three_directions_are_refused(orientation: str) -> None:
    with pytest.raises(GeometryError, match="orientation"):
        towards("SPL").reorient(orientation)


def test_wrong_axes_are_refused() -> None:
    grid = turned((2, 3, 4), (1, 1, 1))
    for axes in ([-1], [3], [0, 0]):
        with pytest.raises(GeometryError, match="flip"):
            grid.flip(axes)
    for order in ([0, 1], [0, 1, 1], [-3, 1, 2]):
        with pytest.raises(GeometryError, match="permutation"):
            grid.permute(order)
    for spacing in ((1, 1), (2,), (1, 0, 1), (1, -1, 1), (1, np.nan, 1)):
        with pytest.raises(GeometryError, match="spacing"):
            grid.respaced(spacing)
    with pytest.raises(GeometryError, match="shape"):
        grid.crop((0, 2, 0), (1, 2, 1))
