"""Label maps on other grids: numbers stay numbers, shares decide, what nobody annotated stays unannotated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tests.volume.lattices import grids, turned

from isocenter.volume import Grid, Volume, resample_labels

IGNORE = 255
sizes = st.tuples(*[st.integers(2, 9)] * 3)


def drawn(grid: Grid, values: list[int], seed: int = 0, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).choice(values, (channels, *grid.shape)).astype(np.uint8)


def sphere(grid: Grid, radius_mm: float, off_mm=(0, 0, 0)) -> np.ndarray:
    place = grid.to_world(np.stack(np.indices(grid.shape), -1)) - grid.center_mm - off_mm
    return np.linalg.norm(place, axis=-1) <= radius_mm


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@given(grids(shapes=sizes), st.permutations([0, 1, 2]), st.sets(st.sampled_from([0, 1, 2])))
def test_whole_voxel_turns_are_exact(grid: Grid, order, flips) -> None:
    labels = drawn(grid, [0, 1, 2, 3, IGNORE])
    assert resample_labels(labels, grid, Grid(grid.shape, grid.affine)) is labels
    expected = Volume(labels, grid).permute(order).flip(sorted(flips))
    np.testing.assert_array_equal(resample_labels(labels, grid, expected.grid), expected.array)


@settings(max_examples=40)
@given(grids(shapes=sizes), grids(shapes=sizes), st.booleans(), st.integers(0, 99))
def test_nothing_is_invented(source: Grid, target: Grid, exclusive: bool, seed: int) -> None:
    target = Grid(target.shape, np.column_stack([target.affine[:, :3], [*source.center_mm, 1]]))
    labels = drawn(source, [0, 2, 5] if exclusive else [0, 1], seed, channels=1 if exclusive else 3)
    found = resample_labels(labels, source, target)
    assert found.dtype == np.uint8
    assert found.shape == (len(labels), *target.shape)
    assert set(np.unique(found)) <= set(np.unique(labels)) | {IGNORE}
    # outside, and only there, nobody annotated anything
    index = source.to_index(target.to_world(np.stack(np.indices(target.shape), -1)))
    gap = np.maximum(-0.5 - index, index - (np.array(source.shape) - 0.5)).max(-1)
    assert (found[:, gap > 1e-5] == IGNORE).all()
    assert (found[:, gap < -1e-5] != IGNORE).all()


@settings(max_examples=40)
@given(grids(shapes=sizes), grids(shapes=sizes), st.sampled_from([0, 3]))
def test_one_label_everywhere_stays_everywhere(source: Grid, target: Grid, value: int) -> None:
    target = Grid(target.shape, np.column_stack([target.affine[:, :3] * 0.2, [*source.center_mm, 1]]))
    found = resample_labels(np.full((1, *source.shape), value, np.uint8), source, target)
    assert set(np.unique(found)) <= {value, IGNORE}
    assert value in found


@pytest.mark.parametrize(
    ("row", "factor", "expected"),
    [
        ([1, 1, 1, 2, 2, 2, 2, 1], 4, [1, 2]),
        ([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2], 4, [0, 1, 2]),
        ([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], 2, [0, 1, 2, 3, 4, 5]),
        # no structure has more than half, 3 has more than any other and than the background
        ([1, 3, 3, 2, 0, 0, 0, 0], 4, [3, 0]),
    ],
)
def test_the_largest_share_wins(row: list[int], factor: int, expected: list[int]) -> None:
    for axis in range(3):
        shape = np.ones(3, int)
        shape[axis] = len(row)
        grid = Grid.regular(shape, spacing_mm=(2, 3, 4))
        spacing = np.array(grid.spacing_mm)
        spacing[axis] *= factor
        labels = np.array(row, np.uint8).reshape(1, *grid.shape)
        assert resample_labels(labels, grid, grid.respaced(spacing)).ravel().tolist() == expected


def test_two_neighbouring_structures_follow_the_majority_of_their_voxels() -> None:
    grid = Grid.regular((24, 24, 24), spacing_mm=(1, 1, 1))
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=grid.shape), 5)
    labels = np.where(noise > 0.002, 2, np.where(noise < -0.002, 1, 0)).astype(np.uint8)[None]
    found = resample_labels(labels, grid, grid.respaced((3, 3, 3)))
    blocks = labels[0].reshape(8, 3, 8, 3, 8, 3).transpose(0, 2, 4, 1, 3, 5).reshape(8, 8, 8, 27)
    votes = np.stack([(blocks == v).sum(-1) for v in (0, 1, 2)])
    clear = votes.max(0) >= 22
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(found[0][clear], votes.argmax(0)[clear])


def test_unannotated_voxels_stay_and_take_no_part_in_the_vote() -> None:
    grid = Grid.regular((1, 1, 12), spacing_mm=(1, 1, 1))
    # a scribble in unannotated surroundings: what is annotated decides, the rest is not background
    labels = np.full((1, 1, 1, 12), IGNORE, np.uint8)
    labels[..., 4] = 2
    coarse = Grid.regular((1, 1, 4), spacing_mm=(1, 1, 3), origin_mm=(1, 0, 0))
    assert resample_labels(labels, grid, coarse).ravel().tolist() == [IGNORE, 2, IGNORE, IGNORE]
    labels[..., 4] = 0
    assert resample_labels(labels, grid, coarse).ravel().tolist() == [IGNORE, 0, IGNORE, IGNORE]


def test_what_lies_beyond_the_annotated_grid_is_unannotated() -> None:
    grid = Grid.regular((4, 4, 4), spacing_mm=(1, 1, 1))
    ones = np.ones((1, *grid.shape), np.uint8)
    for wide in (grid.pad((0, 0, 2), (1, 0, 0)), grid.respaced((1, 0.5, 0.5)).pad((0, 0, 4), (1, 0, 0))):
        found = resample_labels(ones, grid, wide)
        inner = (grid.to_index(wide.to_world(np.stack(np.indices(wide.shape), -1))) >= -0.5).all(-1)
        inner[-1] = False
        assert (found[0][inner] == 1).all()
        assert (found[0][~inner] == IGNORE).all()


@pytest.mark.parametrize("spacing_mm", [(1.5, 1.5, 1.5), (4.0, 1.0, 1.0), (2.0, 0.7, 0.7)])
def test_a_sphere_survives_a_round_trip_through_an_oblique_coarser_grid(spacing_mm) -> None:
    grid = turned((30, 30, 30), (1, 1, 1), degrees=(20, 10, 5), shear=0.1)
    labels = np.where(sphere(grid, 9), 2, 0).astype(np.uint8)[None]
    labels[0][sphere(grid, 4)] = 1
    other = turned((40, 60, 60), spacing_mm, degrees=(-15, 25, 40))
    other = Grid(other.shape, np.column_stack([other.affine[:, :3], [*(grid.center_mm - other.center_mm), 1]]))
    there = resample_labels(labels, grid, other)
    assert dice(there[0] == 2, sphere(other, 9) & ~sphere(other, 4)) > 0.85
    back = resample_labels(there, other, grid)
    assert dice(np.isin(back[0], (1, 2)), labels[0] > 0) > 0.9
    assert dice(back[0] == 1, labels[0] == 1) > (0.9 if max(spacing_mm) < 4 else 0.8)


def test_overlapping_structures_are_treated_apart() -> None:
    grid = turned((20, 20, 20), (1, 1, 1), degrees=(5, 5, 5))
    masks = np.stack([sphere(grid, 8), sphere(grid, 5, (2, 0, 0))]).astype(np.uint8)
    other = grid.respaced((1.7, 1.3, 1.6))
    both = resample_labels(masks, grid, other)
    for k in range(2):
        np.testing.assert_array_equal(both[k : k + 1], resample_labels(masks[k : k + 1], grid, other))
    assert dice(both[0] == 1, sphere(other, 8)) > 0.93
    assert (both[0][both[1] == 1] == 1).mean() > 0.98
