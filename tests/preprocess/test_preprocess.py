"""Images on the working grid, with values a network can read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from isocenter.errors import ValueRangeError
from isocenter.plan import IntensitySpec, PreprocessSpec
from isocenter.preprocess import check_values, normalise, to_working, working_grid
from isocenter.volume import Grid, Volume

GRID = Grid.regular((10, 40, 30), spacing_mm=(5, 0.8, 0.8), origin_mm=(-3, 4, 5))


def spec(**settings) -> PreprocessSpec:
    return PreprocessSpec(reference="ct", **settings)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_broken_values_are_counted(value: float) -> None:
    array = np.zeros((1, 3, 4, 5), np.float32)
    array[0, 0, 0, 0] = 1
    check_values(array, "case a")
    array[0, 1, 2, 3] = array[0, 2, 2, 2] = value
    with pytest.raises(ValueRangeError, match="case a: has 2 NaN or infinite"):
        check_values(array, "case a")


@given(st.sampled_from([np.uint8, np.int16, np.float32]), st.integers(0, 200))
def test_constant_images_are_refused_with_their_value(kind, value: int) -> None:
    with pytest.raises(ValueRangeError, match=f"case a: is constant .*{value:g}"):
        check_values(np.full((1, 2, 2, 2), value, kind), "case a")


@given(st.integers(0, 99), st.floats(1e-3, 1e3), st.floats(-1e4, 1e4))
def test_image_scheme_does_not_depend_on_scale_and_offset(seed: int, gain: float, offset: float) -> None:
    array = np.random.default_rng(seed).normal(size=(1, 6, 7, 8)).astype(np.float32)
    array[0, 0, 0, 0] = 500  # an outlier is clipped
    plain = normalise(array, IntensitySpec(scheme="image"))
    assert plain.dtype == np.float32
    assert plain.mean() == pytest.approx(0, abs=1e-5)
    assert plain.std() == pytest.approx(1, abs=1e-4)
    assert plain.max() < 5
    scaled = normalise(
        (array.astype(np.float64) * gain + offset * gain).astype(np.float32), IntensitySpec(scheme="image")
    )
    np.testing.assert_allclose(scaled, plain, atol=2e-2 if abs(offset) > 100 else 1e-3)


def test_percentiles_of_large_images_come_from_all_of_their_columns() -> None:
    # one column in 256 is bright, less than a percentile cares for; every second voxel would see twice as many
    array = np.random.default_rng(0).normal(size=(1, 4, 1024, 1024)).astype(np.float32)
    array[..., ::256] += 100
    clipped = normalise(array, IntensitySpec(scheme="image"))
    low, high = np.percentile(array, (0.5, 99.5))
    exact = np.clip(array, low, high)
    np.testing.assert_allclose(clipped, (exact - exact.mean()) / exact.std(), atol=0.02)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"lower": -100, "upper": 100}, [-100, -50, 0, 100]),
        ({"lower": -100}, [-100, -50, 0, 300]),
        ({"upper": 100}, [-1000, -50, 0, 100]),
        ({}, [-1000, -50, 0, 300]),
    ],
)
def test_fixed_scheme_clips_on_the_sides_that_the_plan_states(settings, expected) -> None:
    array = np.array([-1000, -50, 0, 300], np.int16)
    found = normalise(array, IntensitySpec(scheme="fixed", mean=10, std=4, **settings))
    np.testing.assert_allclose(found, (np.array(expected) - 10) / 4)
    assert found.dtype == np.float32
    assert array.tolist() == [-1000, -50, 0, 300]


def test_none_scheme_gives_a_float_copy() -> None:
    array = np.array([1, 2], np.int16)
    found = normalise(array, IntensitySpec(scheme="none"))
    assert found.tolist() == [1.0, 2.0]
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("wanted", "shape"),
    [
        (None, (10, 40, 30)),
        ((0, 0, 0), (10, 40, 30)),
        ((5, 1.6, 1.6), (10, 20, 15)),
        ((0, 1.6, 0), (10, 20, 30)),
        ((5.02, 0.799, 0.8), (10, 40, 30)),
        ((2.5, 0.8, 0.8), (20, 40, 30)),
    ],
)
def test_the_working_grid_has_the_wanted_spacing_over_the_same_box(wanted, shape) -> None:
    grid = working_grid(GRID, spec(spacing_mm=wanted))
    assert grid.shape == shape
    np.testing.assert_allclose(grid.center_mm, GRID.center_mm)
    for own, target, old in zip(grid.spacing_mm, wanted or (0, 0, 0), GRID.spacing_mm, strict=True):
        assert own == pytest.approx(old if target == 0 or abs(target / old - 1) < 0.01 else target)


def test_spacing_belongs_to_the_axes_of_the_plan_not_of_the_file() -> None:
    stored = GRID.permute((2, 0, 1)).flip([1])
    grid = working_grid(stored, spec(orientation="SPL", spacing_mm=(5, 1.6, 1.6)))
    assert grid.is_close(working_grid(GRID, spec(orientation="SPL", spacing_mm=(5, 1.6, 1.6))))


def test_an_image_comes_onto_the_working_grid_however_it_is_stored() -> None:
    values = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=GRID.shape), 2)
    how = spec(orientation="SPL", spacing_mm=(5, 1.5, 1.7))
    plain = Volume(values, GRID, "HU")
    stored = plain.permute((2, 0, 1)).flip([0, 2])
    grid = working_grid(GRID, how)
    found = [to_working(v, grid, how) for v in (plain, stored)]
    assert found[0].unit == "HU"
    assert found[0].array.dtype == np.float32
    np.testing.assert_allclose(found[0].array, found[1].array, atol=1e-5)
    # exact where the grid is the image's own, whatever the order of axes
    kept = to_working(stored, working_grid(stored.grid, spec(orientation="SPL")), spec(orientation="SPL"))
    np.testing.assert_array_equal(kept.array[0], values.astype(np.float32))


def test_another_image_is_brought_to_its_place_and_repeats_its_border() -> None:
    small = GRID.crop((2, 10, 10), (8, 30, 20))
    ramp = np.broadcast_to(np.arange(20.0)[:, None], small.shape)
    found = to_working(Volume(ramp, small), GRID, spec())
    np.testing.assert_allclose(found.array[0, 2:8, 10:30, 10:20], ramp, atol=1e-4)
    np.testing.assert_allclose(found.array[0, :, :10], 0, atol=1e-4)
    np.testing.assert_allclose(found.array[0, :, 30:], 19, atol=1e-4)
