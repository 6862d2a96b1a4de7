"""Priors: Betti numbers against gudhi, repairs that do what little is needed and leave alone what they would invent."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from isocenter.errors import MissingExtraError, PlanError
from isocenter.plan import TaskSpec
from isocenter.records import LabelSchema
from isocenter.tasks import Placement, Segmentation, Slab
from isocenter.tasks.priors import Prior, betti_2d, betti_3d, build_priors, persistent_loops, prior
from isocenter.tasks.priors.closing import cheapest_loop
from isocenter.volume import Grid

gudhi = pytest.importorskip("gudhi")
NUMBERS = {"inner": 1, "outer": 2}
NAMES = tuple(NUMBERS)


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


def ring_maps(gap: float | None = None, *, island: bool = False, size: int = 31) -> np.ndarray:
    """Logits of background, cavity and wall; the wall is weak, but not nothing, in a gap of so many radians."""
    rows, columns = np.mgrid[:size, :size] - size // 2
    radius, angle = np.hypot(rows, columns), np.arctan2(rows, columns)
    wall = (radius >= 7) & (radius < 10)
    # background is nowhere near between cavity and wall, or interpolation would find a seam of it there
    maps = np.stack([np.where(radius < 10, -6.0, 2.0), np.where(radius < 7, 5.0, -3.0), np.where(wall, 5.0, -3.0)])
    if gap is not None:
        weak = wall & (np.abs(angle) < gap / 2)
        maps[0][weak], maps[2][weak] = 2.0, 1.0
    if island:
        maps[2][2:5, 2:5] = 4.0
    return maps.astype(np.float32)


def labels_of(maps: np.ndarray) -> np.ndarray:
    return maps.argmax(0)


RING = build_priors([{"kind": "ring", "inner": "inner", "outer": "outer"}], NAMES)[0]
TOPOLOGY = build_priors([{"kind": "topology", "structure": "outer", "holes": 1}], NAMES)[0]


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


def test_topology_of_volumes_is_checked_and_not_repaired() -> None:
    grid = Grid.regular((5, 5, 5), spacing_mm=(1, 1, 1))
    shell = np.ones(grid.shape, bool)
    shell[2, 2, 2] = False
    torus = shell.copy()
    torus[:, 2, 2] = False
    per = {"kind": "topology", "structure": "outer", "per": "volume"}
    solid, hollow = build_priors([per, {**per, "cavities": 1}], NAMES)
    assert hollow.check({"outer": shell}, grid) == []
    (found,) = solid.check({"outer": shell}, grid)
    assert found.text == "outer: 1 piece with no holes and 1 cavity, expected 1 piece with no holes"
    (found,) = solid.check({"outer": torus}, grid)
    assert found.text == "outer: 1 piece with 1 hole, expected 1 piece with no holes"
    maps = ring_maps(island=True)
    assert solid.repair(maps, NUMBERS) is maps


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


def test_checks_name_slice_and_fault() -> None:
    grid = Grid.regular((2, 31, 31), spacing_mm=(10, 1.5, 1.5))
    planes = np.stack([labels_of(ring_maps()), labels_of(ring_maps(0.8))])
    masks = {name: planes == k for name, k in NUMBERS.items()}
    (found,) = RING.check(masks, grid)
    assert (found.slice, found.text) == (1, "outer, slice 1: 1 piece with no holes, expected a ring")
    (found,) = TOPOLOGY.check(masks, grid)
    assert found.text == "outer, slice 1: 1 piece with no holes, expected 1 piece with 1 hole"


def test_relations_and_sizes_are_checked() -> None:
    grid = Grid.regular((3, 10, 10), spacing_mm=(10, 10, 10))
    lung, nodule = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    lung[:, 2:6, 2:6] = True
    nodule[1, 6, 3] = nodule[1, 9, 9] = True
    masks = {"lung": lung, "nodule": nodule}
    inside, volume, share = build_priors(
        [
            {"kind": "inside", "structure": "nodule", "within": ["lung"]},
            {"kind": "volume", "structure": "nodule", "most": 1.0},
            {"kind": "volume", "structure": "nodule", "of": "lung", "most": 0.01},
        ],
        ("lung", "nodule"),
    )
    assert [v.text for v in inside.check(masks, grid)] == ["nodule: 1 of 2 pieces (1 voxels) do not touch lung"]
    assert [v.text for v in volume.check(masks, grid)] == ["nodule: 2 ml, expected 0 to 1"]
    assert [v.text for v in share.check(masks, grid)] == ["nodule: 0.0417 of lung, expected 0 to 0.01"]
    assert share.check({**masks, "nodule": nodule & False}, grid) == []


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"structure": "outer"}, r"priors\[0\]: names no kind; there are inside, .*ring"),
        ({"kind": "rink"}, r"no prior 'rink' \(did you mean 'ring'"),
        ({"kind": "ring", "inner": "inner"}, r"priors\[0\]\.outer: Field required"),
        ({"kind": "ring", "inner": "inner", "outer": "wall"}, r"no structure 'wall'; the plan has inner, outer"),
        ({"kind": "volume", "structure": "inner", "least": 3, "most": 1}, r"least 3 is above most 1"),
        ({"kind": "topology", "structure": "inner", "holes": 2}, r"holes 2: a slice has 0 or 1"),
        ({"kind": "topology", "structure": "inner", "cavities": 1}, r"cavities are for per: volume"),
        ({"kind": "topology", "structure": "inner", "joined": ["wall"]}, r"no structure 'wall'"),
    ],
)
def test_priors_that_do_not_fit_are_refused(given_, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        build_priors([given_], NAMES)


def test_what_a_repair_needs_is_missed_when_the_plan_is_read(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "gudhi", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'isocenter\[topology\]'"):
        build_priors([{"kind": "ring", "inner": "inner", "outer": "outer"}], NAMES)
    assert build_priors([{"kind": "topology", "structure": "inner"}], NAMES), "needs no homology"


def segmentation(*given_, exclusive: bool = True) -> Segmentation:
    schema = LabelSchema.of({"inner": 1, "outer": 2}, exclusive=exclusive)
    spec = TaskSpec(structures=TaskSpec.structures_of(schema), exclusive=exclusive, options={"priors": list(given_)})
    return Segmentation(spec, "mr")


@pytest.mark.parametrize("spacing", [1.5, 1.2, 1.83])
def test_a_segmentation_repairs_and_flags_on_the_images_own_grid(spacing: float) -> None:
    working = Grid.regular((3, 31, 31), spacing_mm=(10, 1.5, 1.5))
    maps = np.stack([ring_maps(), ring_maps(0.8), ring_maps(3.5)], 1)
    maps[2, 2][maps[2, 2] == 1.0] = -9
    placement = Placement(working, working.respaced((10, spacing, spacing)))
    slabs = [
        Slab(0, {"segmentation": torch.from_numpy(maps[:, :2])}),
        Slab(2, {"segmentation": torch.from_numpy(maps[:, 2:])}),
    ]
    plain = segmentation().decode(iter(slabs), placement)
    assert plain.flags == ()
    task = segmentation({"kind": "ring", "inner": "inner", "outer": "outer"})
    decoded = task.decode(iter(slabs), placement)
    labels = decoded.annotations[0].read().array[0]
    assert [betti_2d(plane == 2) for plane in labels[:2]] == [(1, 1), (1, 1)]
    assert [(f.code, f.level) for f in decoded.flags] == [("anatomy-ring", "review")]
    assert "slice 2" in decoded.flags[0].text
    before = plain.annotations[0].read().array[0]
    assert np.array_equal(labels[[0, 2]], before[[0, 2]])
    assert betti_2d(before[1] == 2) != (1, 1)


def test_structures_that_overlap_have_no_priors() -> None:
    with pytest.raises(PlanError, match="are for exclusive structures"):
        segmentation({"kind": "topology", "structure": "inner"}, exclusive=False)


def test_a_prior_from_outside() -> None:
    @prior("nothing-there")
    class Nothing(Prior):
        structure: str

        @property
        def structures(self):
            return (self.structure,)

        def repair(self, maps, numbers):
            out = maps.copy()
            out[numbers[self.structure]] = -99
            return out

        def check(self, labels, grid):
            return []

    task = segmentation({"kind": "nothing-there", "structure": "inner"})
    grid = Grid.regular((1, 31, 31), spacing_mm=(1, 1, 1))
    slab = Slab(0, {"segmentation": torch.from_numpy(ring_maps()[:, None])})
    labels = task.decode(iter([slab]), Placement(grid, grid)).annotations[0].read().array
    assert set(np.unique(labels)) == {0, 2}
