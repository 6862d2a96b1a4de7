"""Betti numbers against gudhi; loops of probability maps; the cheapest path that closes one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tasks.priors.prior_cases import gudhi

from isocenter.tasks.priors import betti_2d, betti_3d, persistent_loops
from isocenter.tasks.priors.closing import cheapest_loop


def betti_by_gudhi(mask: np.ndarray) -> tuple[int, ...]:
    field = np.where(np.pad(mask, 1), 0.0, 1.0)
    complex_ = gudhi.CubicalComplex(top_dimensional_cells=field)
    complex_.compute_persistence(homology_coeff_field=2)
    found = tuple(complex_.persistent_betti_numbers(0.5, 0.5))
    return (*found, *[0] * (mask.ndim - len(found)))[: mask.ndim]


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 9), st.floats(0.2, 0.8))
def test_betti_numbers_of_slices_equal_gudhis(seed: int, rows: int, columns: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < share
    assert betti_2d(mask) == betti_by_gudhi(mask)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.tuples(*[st.integers(1, 5)] * 3), st.floats(0.2, 0.9))
def test_betti_numbers_of_volumes_equal_gudhis(seed: int, sizes, share: float) -> None:
    mask = np.random.default_rng(seed).random(sizes) < share
    assert betti_3d(mask) == betti_by_gudhi(mask)


def brute_loop(cost: np.ndarray, centre: tuple[int, int], limit: int = 9) -> float:
    """Least total of closed paths of few places around the centre, by trying all masks of a tiny image."""
    places = [p for p in np.ndindex(cost.shape) if p != centre]
    best = np.inf
    for count in range(4, limit):
        for chosen in itertools.combinations(places, count):
            mask = np.zeros(cost.shape, bool)
            mask[tuple(np.array(chosen).T)] = True
            outside = np.pad(~mask, 1, constant_values=True)
            from scipy.ndimage import label

            parts, _ = label(outside)
            if parts[0, 0] != parts[centre[0] + 1, centre[1] + 1]:
                best = min(best, float(cost[mask].sum()))
    return best


@pytest.mark.parametrize("seed", range(4))
def test_the_cheapest_loop_is_the_cheapest(seed: int) -> None:
    cost = np.random.default_rng(seed).random((3, 4)).round(2) + 0.05
    centre = (1, 1)
    path = cheapest_loop(cost, centre)
    # costs of edges are means of their ends (times root two across corners), so compare what it encloses at what price
    parts = betti_2d(path)
    assert parts[1] == 1
    assert not path[centre]
    assert float(cost[path].sum()) <= 1.25 * brute_loop(cost, centre)


def test_a_loop_goes_around_the_centre_and_not_around_something_else() -> None:
    cost = np.full((15, 21), 5.0)
    cost[2:5, 2:5] = 0
    cost[3, 3] = 5
    ring = np.zeros((15, 21), bool)
    ring[6:13, 10:17] = True
    ring[8:11, 12:15] = False
    cost[ring] = 0
    path = cheapest_loop(cost, (9, 13))
    assert (path & ~ring).sum() == 0
    assert cheapest_loop(np.full((3, 3), np.inf), (1, 1)) is None


def test_what_is_looked_for_can_be_narrowed() -> None:
    share = np.full((9, 20), 0.01)
    for left, wall in ((1, 0.9), (11, 0.6)):
        share[2:7, left : left + 6] = wall
        share[3:6, left + 1 : left + 5] = 0.1 + left / 100
        share[4, left + 2] = 0.05
    place = np.zeros(share.shape, bool)
    assert [loop.centre for loop in persistent_loops(share)] == [(4, 3), (4, 13)]
    place[4, 13] = True
    assert [loop.centre for loop in persistent_loops(share, inside=place)] == [(4, 13)]
    assert persistent_loops(share, inside=place, least=0.7) == []
    assert persistent_loops(share, least=0.7) == persistent_loops(share)[:1]
    assert persistent_loops(share, least=0.95) == []


def test_a_loops_birth_is_its_weakest_place() -> None:
    share = np.zeros((9, 9))
    share[2:7, 2:7] = 0.9
    share[3:6, 3:6] = 0.05
    share[4, 4] = 0.01
    share[4, 6] = 0.3
    (loop,) = persistent_loops(share)
    assert (loop.birth, loop.death, loop.centre) == (0.3, 0.01, (4, 4))
    assert persistent_loops(np.zeros((5, 5)) + 0.5) == []


def test_a_ring_with_a_weak_place_is_firmer_than_a_ripple_of_its_wall() -> None:
    share = np.full((16, 16), 0.0005)
    share[2:14, 2:14] = 0.9
    share[6:10, 6:10] = 0.002
    share[7, 7] = 0.001
    share[3, 3] = 0.6
    share[7:9, 10:14] = 0.04
    assert [loop.centre for loop in persistent_loops(share)] == [(7, 7), (3, 3)]
