"""What a dataset is like: against shapes whose measures are known."""

from __future__ import annotations

import numpy as np
import pytest
from tests.synthetic import image_ref, label_map, make_case

from isocenter.data import CaseDataset
from isocenter.errors import DatasetError
from isocenter.planner import Fingerprint, fingerprint
from isocenter.records import Boxes, Case, LabelSchema, Masks
from isocenter.volume import Grid, Volume

SCHEMA = LabelSchema.of({"thing": 3, "other": 5}, ignore=9)


def case_of(name: str, labels: np.ndarray, grid: Grid, *, seed: int = 0, image: np.ndarray | None = None) -> Case:
    values = np.random.default_rng(seed).normal(size=grid.shape) if image is None else image
    return make_case(name, Volume(values.astype(np.float32), grid), label_map(labels, grid, SCHEMA))


def look(*cases: Case, **settings) -> Fingerprint:
    return fingerprint(CaseDataset("demo", cases), **{"reference": "ct", "schema": SCHEMA, **settings})


def places(grid: Grid) -> np.ndarray:
    return grid.to_world(np.stack(np.indices(grid.shape), -1)) - grid.center_mm


@pytest.mark.parametrize("spacing_mm", [(1, 1, 1), (3, 1, 1), (1, 2, 0.7)])
@pytest.mark.parametrize("diameter", [16.0, 30.0])
def test_thickness_of_a_sphere_is_two_thirds_of_its_diameter(spacing_mm, diameter: float) -> None:
    grid = Grid.regular([int(40 / s) for s in spacing_mm], spacing_mm=spacing_mm)
    ball = np.linalg.norm(places(grid), axis=-1) <= diameter / 2
    found = look(case_of("a", np.where(ball, 3, 0).astype(np.uint8), grid)).thickness_mm()
    # 4 V / A = 4 (pi d^3 / 6) / (pi d^2)
    assert found == {"thing": pytest.approx(2 / 3 * diameter, rel=0.2)}


@pytest.mark.parametrize("direction", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1), (3, 1, 0)])
def test_thickness_of_a_long_cylinder_is_its_diameter(direction) -> None:
    grid = Grid.regular((50, 50, 50), spacing_mm=(1, 1, 1))
    unit = np.array(direction) / np.linalg.norm(direction)
    place = places(grid)
    away = np.linalg.norm(place - (place @ unit)[..., None] * unit, axis=-1)
    tube = away <= 5
    found = look(case_of("a", np.where(tube, 5, 0).astype(np.uint8), grid)).thickness_mm()
    assert found["other"] == pytest.approx(10, rel=0.2)


def test_extents_are_of_everything_annotated_and_of_most_cases() -> None:
    grid = Grid.regular((10, 40, 40), spacing_mm=(5, 1, 2))
    cases = []
    for k in range(20):
        labels = np.zeros(grid.shape, np.uint8)
        labels[2:5, 10 : 12 + k, 7] = 3
        labels[4, 11, 20] = 5
        labels[9, 39, 39] = 9  # not annotated
        cases.append(case_of(f"c{k}", labels, grid))
    found = look(*cases)
    assert found.cases["c3"].extent_mm == (15, 5, 28)
    np.testing.assert_allclose(found.extent_mm(), (15, np.percentile(np.arange(2, 22), 95), 28))
    assert look(case_of("a", np.zeros(grid.shape, np.uint8), grid)).extent_mm() is None


def test_extents_follow_the_axes_of_the_image_also_where_the_label_has_others() -> None:
    grid = Grid.regular((10, 20, 30), spacing_mm=(5, 1, 2))
    labels = np.zeros(grid.shape, np.uint8)
    labels[2:5, 4:6, 7:17] = 3
    turned = Volume(labels, grid).permute((2, 0, 1)).flip([1])
    values = Volume(np.random.default_rng(0).normal(size=grid.shape), grid)
    case = make_case("a", values, label_map(turned.array[0], turned.grid, SCHEMA))
    assert look(case).cases["a"].extent_mm == (15, 2, 20)


def test_values_are_those_of_annotated_voxels_where_label_and_image_share_a_grid() -> None:
    grid = Grid.regular((6, 50, 50), spacing_mm=(1, 1, 1))
    labels = np.zeros(grid.shape, np.uint8)
    labels[2:4, 10:20, 10:20] = 3
    labels[0] = 9
    image = np.where(labels == 3, 100.0, -5.0) + np.random.default_rng(0).normal(size=grid.shape)
    case = case_of("a", labels, grid, image=image)
    # one image on the same grid, one of the same shape elsewhere: its voxels are not those that were drawn
    shifted = Grid(grid.shape, grid.affine + np.array([[0, 0, 0, 30.0]] + [[0] * 4] * 3))
    more = {"pet": image_ref(Volume(image + 1000, grid), "pet"), "mr": image_ref(Volume(image, shifted), "mr")}
    found = look(Case("a", "p", {**case.images, **more}, case.annotations))
    assert len(found.values("ct")) == 200
    assert found.values("ct").mean() == pytest.approx(100, abs=1)
    assert found.values("pet").mean() == pytest.approx(1100, abs=1)
    assert found.values("mr").mean() == pytest.approx(image.mean(), abs=0.5)
    assert look(case, schema=None).values("ct").mean() == pytest.approx(image.mean(), abs=0.5)
    with pytest.raises(DatasetError, match="'spect'"):
        found.values("spect")


@pytest.mark.parametrize("size", [(20, 31, 32), (20, 44, 45), (20, 45, 45), (30, 80, 80)])
def test_values_are_drawn_evenly_and_not_too_many(size) -> None:
    grid = Grid.regular(size, spacing_mm=(1, 1, 1))
    image = np.arange(np.prod(size), dtype=np.float32).reshape(size)
    values = look(case_of("a", np.zeros(size, np.uint8), grid, image=image)).values("ct")
    assert 10_000 <= len(values) <= 20_000 or len(values) == image.size < 20_000
    assert values.mean() == pytest.approx(image.mean(), rel=0.01)


def test_masks_and_boxes_are_measured_too() -> None:
    grid = Grid.regular((20, 40, 40), spacing_mm=(2, 1, 1))
    masks = np.zeros((2, *grid.shape), bool)
    masks[0, 5:15, 10:30, 10:30] = True
    masks[1, 8:12, 15:25, 15:25] = True  # inside the first
    volume = Volume(masks, grid)
    base = case_of("a", np.zeros(grid.shape, np.uint8), grid)
    schema = LabelSchema.of({"whole": (1, 2), "core": 2})
    found = look(Case("a", "p", base.images, (Masks(schema=schema, read=lambda: volume, image="ct"),)), schema=schema)
    assert found.cases["a"].extent_mm == (20, 20, 20)
    thickness = found.thickness_mm()
    # a cube of side a: V / A = a / 6; the faces of a cube are counted right, so the 1.5 for smooth surfaces stays
    assert thickness["whole"] == pytest.approx(1.5 * 4 * 20 / 6, rel=0.01)
    boxes = Boxes(
        schema=LabelSchema.of({"nodule": 1}), image="ct", classes=np.array([0, 0, 0]),
        corners=np.array([[0, 0, 0, 4, 5, 3], [1, 1, 1, 2, 4, 7], [0, 0, 0, 1, 30, 1]], float),
    )  # fmt: skip
    found = look(Case("a", "p", base.images, (boxes,)), schema=boxes.schema)
    assert found.thickness_mm() == {"nodule": 8.0}


def test_medians_are_over_cases() -> None:
    grids = [Grid.regular((10, 20, 30), spacing_mm=s) for s in [(5, 1, 1), (4, 2, 1), (3, 3, 1)]]
    found = look(*[case_of(f"c{k}", np.zeros(g.shape, np.uint8), g) for k, g in enumerate(grids)])
    np.testing.assert_allclose(found.median_spacing_mm(), (4, 2, 1))
    np.testing.assert_allclose(found.median_size_mm(), (40, 40, 30))


def test_a_case_that_cannot_be_used_is_named_and_the_others_go_on() -> None:
    grid = Grid.regular((4, 8, 8), spacing_mm=(1, 1, 1))
    good = case_of("good", np.zeros(grid.shape, np.uint8), grid)
    undeclared = case_of("undeclared", np.full(grid.shape, 7, np.uint8), grid)
    constant = case_of("constant", np.zeros(grid.shape, np.uint8), grid, image=np.ones(grid.shape))
    broken = case_of("broken", np.zeros(grid.shape, np.uint8), grid, image=np.full(grid.shape, np.nan))
    without = Case("without", "p", {})
    told: list[tuple[int, int]] = []
    found = look(undeclared, good, constant, broken, without, progress=lambda done, total: told.append((done, total)))
    assert list(found.cases) == ["good"]
    assert [(p.case, p.kind) for p in found.problems] == [
        ("undeclared", "LabelError"),
        ("constant", "ValueRangeError"),
        ("broken", "ValueRangeError"),
        ("without", "DatasetError"),
    ]
    assert "value 7" in str(found.problems[0])
    assert told[-1] == (5, 5)
    with pytest.raises(DatasetError, match=r"none of its 2 cases can be used; the first: case constant:.*constant"):
        look(constant, broken)
    with pytest.raises(DatasetError, match="no cases"):
        look()


def test_the_main_piece_is_that_of_the_most_scattered_case() -> None:
    grid = Grid.regular((4, 20, 20), spacing_mm=(5, 1, 1))
    whole, apart = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.uint8)
    whole[0, :5, :5] = whole[1, 5, 5] = 3  # touching by a corner is touching
    apart[0, :3, :3], apart[3, 10, 10] = 3, 3
    found = look(case_of("a", whole, grid), case_of("b", apart, grid))
    assert found.main_piece() == {"thing": pytest.approx(0.9)}
