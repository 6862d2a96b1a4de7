"""Repairs do what little is needed, and leave alone what they would have to invent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from tests.tasks.priors.prior_cases import NAMES, NUMBERS, RING, TOPOLOGY, labels_of, ring_maps

from isocenter.tasks.priors import Prior, betti_2d, build_priors
from isocenter.volume import Grid


@pytest.mark.parametrize("repairing", [RING, TOPOLOGY], ids=["ring", "topology"])
@pytest.mark.parametrize("gap", [0.3, 0.8, 1.4])
def test_a_nearly_closed_ring_is_closed(repairing: Prior, gap: float) -> None:
    broken = ring_maps(gap, island=True)
    assert betti_2d(labels_of(broken) == 2) != (1, 1)
    kept = broken.copy()
    found = labels_of(repairing.repair(broken, NUMBERS))
    assert betti_2d(found == 2) == (1, 1)
    assert np.array_equal(broken, kept), "what was given is not changed"
    # what was there stays, but for the island
    whole = labels_of(ring_maps(gap))
    assert (found != whole).sum() <= 3 * (labels_of(ring_maps()) != whole).sum() + 12


def test_a_whole_ring_is_left_as_it_is() -> None:
    maps = ring_maps()
    assert RING.repair(maps, NUMBERS) is maps
    assert TOPOLOGY.repair(maps, NUMBERS) is maps


def test_what_would_have_to_be_invented_is_left_alone() -> None:
    half = ring_maps(3.5)
    half[2][(half[2] == 1.0)] = -9.0
    assert np.array_equal(labels_of(RING.repair(half, NUMBERS)), labels_of(half))
    alone = ring_maps(0.8)
    alone[1] = -9
    assert np.array_equal(labels_of(RING.repair(alone, NUMBERS)), labels_of(alone)), "there is nothing to surround"


def test_a_ring_around_little_of_the_inner_structure_is_not_taken() -> None:
    maps = ring_maps(0.6)
    maps[2][(maps[2] == 1.0)] = -9
    maps[1][15, 7], maps[2][15, 7] = 5, -9  # a speck of cavity in a wall that is open elsewhere
    assert betti_2d(labels_of(maps) == 2) == (1, 1)
    lax = RING.model_copy(update={"most_change": 0.6})
    assert lax.repair(maps, NUMBERS) is maps


def test_a_hole_that_is_not_there_is_not_made() -> None:
    maps = ring_maps()
    maps[1], maps[2] = -3, np.where(maps[0] < 0, 5.0, -3.0)
    maps[2, 15, 15] = 1.0  # a ripple: the wall wins here too
    assert betti_2d(labels_of(maps) == 2) == (1, 0)
    assert TOPOLOGY.repair(maps, NUMBERS) is maps


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 4.0))
def test_what_is_repaired_is_as_it_must_be(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    maps = ring_maps(0.6)
    maps = (maps + gaussian_filter(rng.normal(0, 4 * noise, maps.shape), (0, 1.2, 1.2))).astype(np.float32)
    grid = Grid.regular((1, 31, 31), spacing_mm=(10, 1.5, 1.5))
    for repairing, of in ((RING, NAMES), (TOPOLOGY, ("outer",))):
        out = repairing.repair(maps, NUMBERS)
        labels = {name: labels_of(out)[None] == NUMBERS[name] for name in of}
        event(f"{repairing.kind} {'left' if out is maps else 'repaired'}")
        assert out is maps or repairing.check(labels, grid) == []


def test_what_a_ring_encloses_is_the_inner_structure() -> None:
    maps = ring_maps(0.5)
    maps[1][14:17, 14:17] = -9  # a hole of background in the cavity
    maps[0][14:17, 14:17] = 1
    maps[1][1:4, 25:28] = 6  # cavity far outside
    found = labels_of(RING.repair(maps, NUMBERS))
    assert (found[14:17, 14:17] == 1).all()
    assert not (found[1:4, 25:28] == 1).any()


def test_a_ring_that_encloses_something_else_is_filled_and_named() -> None:
    maps = ring_maps()
    maps[1][14:17, 14:17], maps[0][14:17, 14:17] = -9, 1
    masks = {name: labels_of(maps)[None] == k for name, k in NUMBERS.items()}
    (found,) = RING.check(masks, Grid.regular((1, 31, 31), spacing_mm=(10, 1.5, 1.5)))
    assert found.text == "outer, slice 0: encloses 9 voxels that are not inner"
    assert (labels_of(RING.repair(maps, NUMBERS))[14:17, 14:17] == 1).all()


def test_without_holes_pieces_and_holes_go() -> None:
    lone = build_priors([{"kind": "topology", "structure": "inner"}], NAMES)[0]
    maps = ring_maps()
    maps[1][15, 15], maps[0][15, 15] = -9, 1
    maps[1][1:3, 1:4] = 6
    found = labels_of(lone.repair(maps, NUMBERS))
    assert betti_2d(found == 1) == (1, 0)


def test_structures_taken_together_are_one_piece_without_holes() -> None:
    both = build_priors([{"kind": "topology", "structure": "inner", "joined": ["outer"]}], NAMES)[0]
    maps = ring_maps(island=True)
    maps[1:, 14:17, 20:24] = [[[-9.0]], [[-8.0]]]  # between cavity and wall; background, though wall is next
    maps[0, 14:17, 20:24] = 1
    maps[0, 2:5, 2:5] = 3
    before = labels_of(maps)
    assert betti_2d(before > 0) == (2, 1)
    found = labels_of(both.repair(maps, NUMBERS))
    assert betti_2d(found > 0) == (1, 0)
    assert (found[14:17, 20:24] == 2).all(), "the best of those that are taken together"
    assert (found[2:5, 2:5] == 0).all()
    assert np.array_equal(found[before > 0][found[before > 0] > 0], before[(before > 0) & (found > 0)])
