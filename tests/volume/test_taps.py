"""Tables of weights: against scipy and Pillow-like dense weights, and the properties that all of them have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.volume.references import cubic_weights, linear_weights, triangle_weights

from isocenter.volume.taps import AxisTaps, axis_taps, nearest_samples


def dense(taps: AxisTaps, size: int) -> np.ndarray:
    found = np.zeros((len(taps.first), size))
    for t, weights in enumerate(taps.weights):
        found[np.arange(len(found)), taps.first + t] += weights
    return found


sizes = st.integers(1, 12)
steps = st.floats(0.1, 6).map(lambda n: round(n, 3))
anywhere = st.lists(st.floats(-30, 30), min_size=1, max_size=12).map(np.array)


@given(sizes, anywhere)
def test_plain_tables_are_those_of_scipy(size: int, places: np.ndarray) -> None:
    np.testing.assert_allclose(dense(axis_taps(size, places), size), linear_weights(places, size), atol=1e-6)
    found = dense(axis_taps(size, places, cubic=True), size)
    np.testing.assert_allclose(found, cubic_weights(places, size), atol=1e-6)


@given(sizes, st.integers(2, 5), anywhere)
def test_a_kernel_widened_by_a_whole_number_is_a_triangle(size: int, widen: int, places: np.ndarray) -> None:
    places = np.clip(places, -1, size)
    found = dense(axis_taps(size, places, widen=float(widen)), size)
    np.testing.assert_allclose(found, triangle_weights(places, size, widen), atol=1e-6)


@given(sizes, anywhere, st.floats(1, 6), st.booleans())
def test_weights_stay_inside_and_sum_to_one(size: int, places: np.ndarray, widen: float, cubic: bool) -> None:
    taps = axis_taps(size, places, cubic=cubic, widen=widen)
    assert taps.first.min() >= 0
    assert taps.reach[1] <= size
    np.testing.assert_allclose(taps.weights.sum(0), 1, atol=1e-6)
    if not cubic:
        assert taps.weights.min() >= 0
    np.testing.assert_array_equal(taps.first + taps.nearest, nearest_samples(size, places))


@given(st.floats(1.02, 7), st.floats(0, 1), st.booleans())
def test_structures_stay_in_place_whatever_the_factor(widen: float, start: float, cubic: bool) -> None:
    """A widened kernel that is only normalised moves them by up to 0.03 samples."""
    size = 80
    places = 30 + start + np.arange(5) * widen
    weights = dense(axis_taps(size, places, cubic=cubic, widen=widen), size)
    np.testing.assert_allclose(weights @ np.arange(size), places, atol=2e-5)


@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize(
    ("factor", "period", "left"), [(2, 3, 0.17), (3, 3, 0.01), (3, 4, 0.12), (4, 3, 0.04), (4, 4, 0.01)]
)
def test_patterns_too_fine_for_the_coarse_grid_are_gone(cubic: bool, factor: int, period: int, left: float) -> None:
    """Sampling them after a Gaussian of matching variance leaves 0.34, 0.23, 0.44, 0.03 and 0.15 of them."""
    size = 240
    places = np.arange(20, 40) * float(factor) + (factor - 1) / 2
    weights = dense(axis_taps(size, places, cubic=cubic, widen=float(factor)), size)
    waves = [np.cos(2 * np.pi * (np.arange(size) / period + shift)) for shift in np.arange(8) / 8]
    assert max(np.abs(weights @ wave).max() for wave in waves) < left


@given(sizes, anywhere, st.floats(1, 4), st.booleans())
def test_mirrored_tables_read_the_reversed_input(size: int, places: np.ndarray, widen: float, cubic: bool) -> None:
    taps = axis_taps(size, places, cubic=cubic, widen=widen)
    turned = taps.mirrored(size)
    np.testing.assert_array_equal(dense(turned, size)[:, ::-1], dense(taps, size))
    np.testing.assert_array_equal(size - 1 - (turned.first + turned.nearest), taps.first + taps.nearest)


def test_nothing_is_computed_along_an_axis_whose_samples_are_copied() -> None:
    for cubic in (False, True):
        taps = axis_taps(9, np.arange(8, -1, -1) + 1e-10, cubic=cubic)
        assert taps.weights.tolist() == [[1.0] * 9]
        assert taps.first.tolist() == list(range(8, -1, -1))
