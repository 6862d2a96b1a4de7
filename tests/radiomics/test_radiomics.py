"""Features against the digital phantom of the Image Biomarker Standardisation Initiative, scipy, and known shapes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from isocenter.errors import GeometryError, PlanError
from isocenter.radiomics import FIRST_ORDER, PROPERTIES, SHAPE, first_order, measure_property, shape
from isocenter.volume import Grid

# arXiv 1612.07003, the digital phantom: 2 mm voxels; 0 stands for what is outside of the region of interest
PHANTOM = np.array([
    [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
    [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [0, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
    [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 6, 1, 1]],
    [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
])  # fmt: skip
GRID = Grid.regular(PHANTOM.shape, spacing_mm=(2, 2, 2))
# the reference values of the manual, to the digits that it gives
MORPHOLOGY = {
    "mesh_volume_ml": 0.556, "volume_ml": 0.592, "surface_area_mm2": 388, "surface_to_volume_per_mm": 0.698,
    "sphericity": 0.843, "max_diameter_mm": 13.1, "major_axis_mm": 11.4, "minor_axis_mm": 9.31, "least_axis_mm": 8.54,
    "elongation": 0.816, "flatness": 0.749,
}  # fmt: skip
STATISTICS = {
    "mean": 2.15, "skewness": 1.08, "kurtosis": -0.355, "median": 1, "minimum": 1, "p10": 1, "p90": 4, "maximum": 6,
    "interquartile_range": 3, "mean_absolute_deviation": 1.55, "energy": 567, "root_mean_square": 2.77,
}  # fmt: skip


@pytest.mark.parametrize("name", MORPHOLOGY)
def test_morphology_of_the_digital_phantom(name: str) -> None:
    found = shape(PHANTOM > 0, GRID)[name]
    assert float(f"{found:.3g}") == pytest.approx(MORPHOLOGY[name])


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_of_the_digital_phantom(name: str) -> None:
    found = first_order(PHANTOM[PHANTOM > 0])[name]
    assert float(f"{found:.3g}") == pytest.approx(STATISTICS[name])


def test_spread_and_entropy_of_the_digital_phantom() -> None:
    found = first_order(PHANTOM[PHANTOM > 0], bins=6)
    assert found["std"] ** 2 == pytest.approx(3.05, abs=0.005)
    assert found["entropy"] == pytest.approx(1.27, abs=0.005)
    assert found["uniformity"] == pytest.approx(0.512, abs=0.0005)


@settings(max_examples=30)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=60))
def test_statistics_equal_scipys(values: list[float]) -> None:
    x = np.array(values)
    found = first_order(x)
    assert found["mean"] == pytest.approx(x.mean(), abs=1e-9)
    if x.std() > 1e-6 * max(1.0, np.abs(x).max()):
        assert found["skewness"] == pytest.approx(stats.skew(x), abs=1e-6)
        assert found["kurtosis"] == pytest.approx(stats.kurtosis(x), abs=1e-6)
        counts = np.histogram(x, 32)[0]
        assert found["entropy"] == pytest.approx(stats.entropy(counts, base=2), abs=1e-9)
    assert found["interquartile_range"] == pytest.approx(stats.iqr(x), abs=1e-9)


def ball(grid: Grid, radius_mm: float) -> np.ndarray:
    centre = grid.to_world((np.array(grid.shape) - 1) / 2)
    places = grid.to_world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).reshape(-1, 3))
    return (np.linalg.norm(places - centre, axis=1) <= radius_mm).reshape(grid.shape)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2.5, 1, 1), (0.8, 1.3, 0.9)])
def test_a_ball_is_a_ball_at_any_spacing(spacing) -> None:
    grid = Grid.regular(tuple(int(2 * 20 / s) + 5 for s in spacing), spacing_mm=spacing)
    found = shape(ball(grid, 18.0), grid)
    volume = 4 / 3 * math.pi * 18**3 / 1000
    assert found["mesh_volume_ml"] == pytest.approx(volume, rel=0.02)
    assert found["volume_ml"] == pytest.approx(volume, rel=0.02)
    assert found["sphericity"] == pytest.approx(0.93, abs=0.07), "a mesh of voxels is rougher than a ball"
    assert found["max_diameter_mm"] == pytest.approx(36, abs=max(spacing) + 0.5)
    # a solid ball of radius r has axes of 4 r / sqrt(5)
    assert found["major_axis_mm"] == pytest.approx(4 * 18 / math.sqrt(5), rel=0.02)
    assert found["flatness"] == pytest.approx(1, abs=0.03)


def test_a_sheared_grid_is_measured_where_it_is() -> None:
    straight = Grid.regular((30, 30, 30), spacing_mm=(1, 1, 1))
    affine = straight.affine.copy()
    affine[1, 0] += 0.4  # each slice lies a little further
    sheared = Grid(straight.shape, affine)
    found = shape(ball(sheared, 10.0), sheared)
    assert found["mesh_volume_ml"] == pytest.approx(4 / 3 * math.pi, rel=0.02)
    assert found["flatness"] == pytest.approx(1, abs=0.05)


def test_what_is_not_there_has_no_shape() -> None:
    empty = shape(np.zeros((3, 3, 3), bool), Grid.regular((3, 3, 3), spacing_mm=(1, 1, 1)))
    assert (empty["volume_ml"], empty["surface_area_mm2"]) == (0, 0)
    assert all(math.isnan(empty[n]) for n in SHAPE if "volume_ml" not in n and n != "surface_area_mm2")
    assert all(math.isnan(v) for v in first_order(np.zeros(0)).values())
    constant = first_order(np.full(5, 3.0))
    assert (constant["std"], constant["entropy"], constant["kurtosis"]) == (0, 0, 0)


def test_every_property_has_a_name_and_an_unknown_one_is_refused() -> None:
    mask = PHANTOM > 0
    for name in PROPERTIES:
        assert math.isfinite(measure_property(name, mask, GRID, lambda: PHANTOM.astype(float)))
    assert len(PROPERTIES) == len(SHAPE) + len(FIRST_ORDER) == len(set(PROPERTIES))
    with pytest.raises(PlanError, match=r"no property 'volume' \(did you mean 'volume_ml'\?\)"):
        measure_property("volume", mask, GRID)
    with pytest.raises(GeometryError, match="does not lie on a grid"):
        shape(mask[:2], GRID)
