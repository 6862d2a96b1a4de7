"""Which axes lie along which."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.volume.lattices import grids, turned

from isocenter.volume.mapping import aligned_axes, inside_range, shrink_factors

sizes = st.tuples(*[st.integers(2, 9)] * 3)


@given(grids(shapes=sizes), st.permutations([0, 1, 2]), st.sets(st.sampled_from([0, 1, 2])), st.floats(0.3, 4))
def test_turned_flipped_and_respaced_grids_are_aligned(grid, order, flips, factor: float) -> None:
    target = grid.respaced([s * factor for s in grid.spacing_mm]).permute(order).flip(sorted(flips))
    matrix = target.index_map_to(grid)
    maps = aligned_axes(matrix, target.shape)
    assert maps is not None
    index = np.stack(np.indices(target.shape), -1).reshape(-1, 3)
    places = index @ matrix[:3, :3].T + matrix[:3, 3]
    for axis, m in enumerate(maps):
        np.testing.assert_allclose(m.places[index[:, m.axis]], places[:, axis], atol=1e-4)


@given(grids(shapes=sizes), grids(shapes=sizes))
def test_any_other_grid_is_not(a, b) -> None:
    matrix = b.index_map_to(a)
    drift = min(
        (np.abs(matrix[:3, :3]) * (np.array(b.shape) - 1) * (np.arange(3)[None] != np.array(order)[:, None])).max()
        for order in permutations(range(3))
    )
    assert (aligned_axes(matrix, b.shape) is None) == (drift >= 1e-5)


def test_a_single_slice_may_be_turned_about_its_normal_only() -> None:
    volume = turned((5, 6, 7), (1, 1, 1))
    for degrees, aligned in (((0, 0, 0), True), ((0, 0, 20), False), ((20, 0, 0), False)):
        plane = turned((1, 6, 7), (1, 1, 1), degrees=degrees)
        assert (aligned_axes(plane.index_map_to(volume), plane.shape) is not None) == aligned


def test_shrinking_counts_along_the_axes_of_the_source() -> None:
    source, target = turned((9, 9, 9), (1, 2, 4)), turned((9, 9, 9), (4, 2.01, 1), order=(0, 1, 2))
    assert shrink_factors(target.index_map_to(source)) == pytest.approx((1, 1, 1))
    target = turned((9, 9, 9), (4, 2.1, 3), order=(2, 1, 0))
    assert shrink_factors(target.index_map_to(source)) == pytest.approx((4, 1.05, 1))


@given(st.integers(1, 9), st.floats(-3, 3), st.floats(-20, 20), st.integers(1, 20))
def test_the_inside_is_a_run(size: int, step: float, shift: float, count: int) -> None:
    places = step * np.arange(count) + shift
    low, high = inside_range(places, size)
    inside = (places > -0.5 - 1e-6) & (places < size - 0.5 + 1e-6)
    np.testing.assert_array_equal(np.flatnonzero(inside), np.arange(low, high))
