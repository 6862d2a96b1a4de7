"""The digital thorax against anatomy, analytic volumes and itself on other grids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from isocenter.errors import ConfigError, LabelError
from isocenter.simulate import DENSITIES, STRUCTURES, SimulatedCase, Thorax, thorax, thorax_schema
from isocenter.volume import Grid


@pytest.fixture(scope="module")
def body() -> Thorax:
    return Thorax.draw(seed=7, case=2, nodules=(3, 3))


@pytest.fixture(scope="module")
def cases() -> list[SimulatedCase]:
    return [thorax(i, seed=7, matrix=96, slice_mm=5, noise=0) for i in range(4)]


def _grid(matrix: int = 64, slice_mm: float = 10.0) -> Grid:
    pixel = 384.0 / matrix
    corner = -192 + pixel / 2
    return Grid.regular(
        (int(290 / slice_mm), matrix, matrix), spacing_mm=(slice_mm, pixel, pixel), origin_mm=(corner, corner, -150)
    )


def _mask(case: SimulatedCase, name: str) -> np.ndarray:
    return case.labels.array[0] == case.schema[name].values[0]


def _centre(case: SimulatedCase, name: str) -> np.ndarray:
    return case.labels.grid.to_world(np.argwhere(_mask(case, name))).mean(axis=0)


def test_same_seed_and_index_give_the_same_case_whatever_was_made_before() -> None:
    again = thorax(1, seed=7, matrix=32, slice_mm=16)
    thorax(0, seed=7, matrix=32, slice_mm=16)
    first = thorax(1, seed=7, matrix=32, slice_mm=16)
    assert first.image.array.tobytes() == again.image.array.tobytes()
    assert first.labels.array.tobytes() == again.labels.array.tobytes()
    assert first.truth() == again.truth()
    assert first.image.grid == again.image.grid


@pytest.mark.parametrize(("index", "seed"), [(2, 7), (1, 8)])
def test_other_seeds_and_indices_give_other_patients(index: int, seed: int) -> None:
    one, other = Thorax.draw(seed=7, case=1).patient, Thorax.draw(seed=seed, case=index).patient
    assert one.warp.scale != other.warp.scale
    assert one.tissue != other.tissue


def test_noise_does_not_touch_the_anatomy() -> None:
    quiet, loud = (thorax(3, seed=1, matrix=48, slice_mm=12, noise=n) for n in (0, 1))
    assert (quiet.labels.array == loud.labels.array).all()
    assert (quiet.image.array != loud.image.array).any()


def test_organs_lie_where_they_belong(cases: list[SimulatedCase]) -> None:
    for case in cases:
        at = {name: _centre(case, name) for name in STRUCTURES if name != "nodule"}
        assert at["lung_left"][0] > 40 > -40 > at["lung_right"][0], "x grows to the patient's left"
        assert at["heart"][0] > 3 > -30 > at["liver"][0]
        assert at["spine"][1] > at["heart"][1] + 50, "y grows to the back"
        assert at["liver"][2] < at["heart"][2] < at["airways"][2], "z grows to the head"
        assert case.image.grid.orientation == "SPL"


def test_volumes_are_those_of_adults(cases: list[SimulatedCase]) -> None:
    for volume in (case.volumes_ml() for case in cases):
        assert 1300 < volume["lung_left"] < 3400
        assert 1500 < volume["lung_right"] < 3700
        assert 400 < volume["heart"] < 950
        assert 850 < volume["liver"] < 2100
        assert 40 < volume["airways"] < 90
    right, left = (np.mean([c.volumes_ml()[f"lung_{s}"] for c in cases]) for s in ("right", "left"))
    assert right > left


@pytest.mark.parametrize(
    ("name", "low", "high", "margin"),
    [
        ("lung_left", -905, -780, 3),
        ("lung_right", -905, -780, 3),
        ("heart", 20, 200, 3),
        ("liver", 30, 140, 3),
        ("spine", 90, 600, 0),
        ("ribs", 150, 700, 0),
        ("airways", -1000, -500, 0),
    ],
)
def test_mean_values_are_those_of_the_tissue(
    cases: list[SimulatedCase], name: str, low: float, high: float, margin: int
) -> None:
    for case in cases:
        mask = _mask(case, name)
        inner = ndimage.binary_erosion(mask, iterations=margin) if margin else mask
        assert low < case.image.array[0][inner].mean() < high


def test_contrast_lights_up_the_heart_and_not_the_lung(cases: list[SimulatedCase]) -> None:
    heart = {c.patient.contrast: c.image.array[0][_mask(c, "heart")].mean() for c in cases}
    assert set(heart) == {True, False}
    assert heart[True] > heart[False] + 40


def test_everything_labelled_is_inside_the_body(cases: list[SimulatedCase]) -> None:
    for case in cases:
        tissue = case.image.array[0] > -400
        body = np.stack([ndimage.binary_fill_holes(ndimage.binary_opening(plane)) for plane in tissue])
        labelled = case.labels.array[0] > 0
        assert (labelled & ~body).sum() <= 0.001 * labelled.sum()


def test_each_lung_is_one_piece_and_the_two_do_not_touch(cases: list[SimulatedCase]) -> None:
    for case in cases:
        for name in ("lung_left", "lung_right"):
            pieces, count = ndimage.label(_mask(case, name))
            largest = np.bincount(pieces.ravel())[1:].max()
            assert count >= 1
            assert largest > 0.99 * _mask(case, name).sum()
        grown = ndimage.binary_dilation(_mask(case, "lung_left"))
        assert not (grown & _mask(case, "lung_right")).any()


def test_a_nodule_has_the_volume_of_its_ball(body: Thorax) -> None:
    value = body.labels["nodule"]
    for nodule in body.nodules:
        n = int(nodule.diameter_mm / 0.4) + 8
        low = np.asarray(nodule.center_mm) - (n - 1) * 0.2 + 0.07
        grid = Grid.regular((n, n, n), spacing_mm=(0.4, 0.4, 0.4), origin_mm=low)
        hu, labels = body.render(grid)
        found = (labels.array[0] == value).sum() * grid.voxel_volume_ml
        assert found == pytest.approx(nodule.volume_ml, rel=0.03)
        middle = grid.to_world(np.argwhere(labels.array[0] == value)).mean(axis=0)
        assert middle == pytest.approx(np.asarray(nodule.center_mm), abs=0.05)
        edge = hu.array[0][labels.array[0] == value]
        assert np.median(edge) == pytest.approx(nodule.hu, abs=40)


@settings(max_examples=8)
@given(st.integers(0, 10_000))
def test_nodules_are_in_range_apart_and_inside_their_lung(seed: int) -> None:
    body = Thorax.draw(seed=seed, case=0, nodules=(1, 4), nodule_mm=(5, 20), densities=("solid", "ground-glass"))
    assert 1 <= len(body.nodules) <= 4
    plain = Thorax.draw(seed=seed, case=0, nodules=(0, 0), structures=("lung_left", "lung_right"))
    for i, nodule in enumerate(body.nodules):
        assert 5 <= nodule.diameter_mm <= 20
        assert nodule.density in ("solid", "ground-glass")
        for other in body.nodules[:i]:
            gap = np.linalg.norm(np.subtract(nodule.center_mm, other.center_mm))
            assert gap > (nodule.diameter_mm + other.diameter_mm) / 2
        spot = Grid.regular((1, 1, 1), spacing_mm=(1, 1, 1), origin_mm=nodule.center_mm)
        found = int(plain.render(spot)[1].array.item())
        assert found == plain.labels[f"lung_{nodule.side}"]


def test_a_part_solid_nodule_has_a_dense_core_in_a_faint_ball() -> None:
    body = Thorax.draw(seed=3, case=0, nodules=(1, 1), nodule_mm=(16, 16), densities=("part-solid",))
    (nodule,) = body.nodules
    line = Grid.regular((1, 1, 2), spacing_mm=(1, 1, 6), origin_mm=nodule.center_mm)
    core, shell = body.render(line)[0].array.ravel()
    assert core > -50
    assert -750 < shell < -450


def test_structures_left_out_leave_what_lies_under_them() -> None:
    options = {"matrix": 64, "slice_mm": 6, "nodules": (2, 2), "noise": 0}
    every = thorax(0, seed=5, **options)
    lungs = thorax(0, seed=5, structures=["lung_right", "lung_left"], **options)
    assert lungs.schema.names == ("lung_left", "lung_right")
    assert (lungs.image.array == every.image.array).all()
    assert len(lungs.nodules) == 2
    for name in lungs.schema.names:
        assert (_mask(lungs, name) >= _mask(every, name)).all()
    assert (lungs.labels.array[0] > 0)[_mask(every, "nodule")].all()


def test_the_schema_is_exclusive_coded_and_mirrored() -> None:
    schema = thorax_schema()
    assert schema.exclusive
    assert schema.names == STRUCTURES
    assert sorted(schema.values) == list(range(1, len(STRUCTURES) + 1))
    assert schema["lung_left"].mirror == "lung_right"
    assert all(s.code is not None and s.code.scheme == "SCT" for s in schema.structures)
    assert thorax_schema(["lung_left"])["lung_left"].mirror is None


def test_the_same_place_looks_the_same_on_any_grid(body: Thorax) -> None:
    grid = _grid()
    hu, labels = body.render(grid)
    part = grid.crop((9, 20, 11), (14, 50, 60))
    hu_part, labels_part = body.render(part)
    assert (labels_part.array == labels.crop((9, 20, 11), (14, 50, 60)).array).all()
    assert np.abs(hu_part.array - hu.crop((9, 20, 11), (14, 50, 60)).array).max() < 1.0
    turned = grid.permute((1, 2, 0)).flip([0])
    relabelled = body.render(turned)[1].array[0]
    same = relabelled == np.flip(labels.array[0].transpose(1, 2, 0), 0)
    # the pixel is another size, and thin airways are left out by it
    assert same.mean() > 0.999


def test_an_oblique_grid_shows_the_same_anatomy(body: Thorax) -> None:
    straight = _grid(48, 12.0)
    angle = np.radians(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    oblique = Grid(straight.shape, turn @ straight.affine)
    labels = body.render(oblique)[1].array[0]
    for index in [(12, 24, 14), (12, 24, 34), (15, 20, 26), (3, 24, 14)]:
        spot = Grid.regular((1, 1, 1), spacing_mm=(1, 8, 8), origin_mm=oblique.to_world(index))
        assert body.render(spot)[1].array.item() == labels[index]
    assert len(np.unique(labels)) > 5


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.tuples(*[st.floats(-150, 150)] * 3))
def test_the_warp_is_undone_by_its_inverse(seed: int, point: tuple[float, float, float]) -> None:
    warp = Thorax.draw(seed=seed, case=0, nodules=(0, 0)).patient.warp
    there = warp.forward(np.asarray([point]))
    assert warp.backward(there)[0] == pytest.approx(np.asarray(point), abs=1e-3)
    assert np.abs(warp.waves.at(np.asarray([point]))).max() <= warp.reach_mm


def test_the_warp_on_a_grid_is_that_of_its_points(body: Thorax) -> None:
    grid = _grid(16, 40.0)
    index = np.argwhere(np.ones(grid.shape))
    expected = body.patient.warp.forward(grid.to_world(index)).T.reshape(3, *grid.shape)
    assert np.allclose(np.stack(body.patient.warp.on(grid)), expected, atol=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"matrix": 4},
        {"slice_mm": 0.0},
        {"nodules": (3, 1)},
        {"nodule_mm": (10.0, 90.0)},
        {"densities": ("soft",)},
        {"densities": ()},
        {"profiles": ()},
        {"noise": -1.0},
    ],
)
def test_wrong_options_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(str(v) for v in wrong.values())).strip("()").split(",")[0] or "."):
        thorax(0, seed=1, **wrong)  # type: ignore[arg-type]


def test_wrong_seeds_and_structures_are_named() -> None:
    with pytest.raises(ConfigError, match="-1"):
        thorax(0, seed=-1)
    with pytest.raises(LabelError, match="spleen"):
        thorax(0, seed=1, structures=["spleen"])
    with pytest.raises(LabelError, match="choose from"):
        thorax_schema([])
    with pytest.raises(ConfigError, match="fewer or smaller"):
        Thorax.draw(seed=1, case=0, nodules=(50, 50), nodule_mm=(40.0, 40.0), densities=DENSITIES)
