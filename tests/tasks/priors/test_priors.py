"""Priors: what they check, which are refused, and what a segmentation makes of them."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from tests.tasks.priors.prior_cases import NAMES, NUMBERS, RING, TOPOLOGY, labels_of, ring_maps

from isocenter.errors import MissingExtraError, PlanError
from isocenter.plan import TaskSpec
from isocenter.records import LabelSchema
from isocenter.tasks import Placement, Segmentation, Slab
from isocenter.tasks.priors import Prior, betti_2d, build_priors, prior
from isocenter.volume import Grid


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
