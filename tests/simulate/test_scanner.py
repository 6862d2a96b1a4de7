"""The scanner model against what it states: noise, texture, sharpness, slice thickness."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from isocenter.errors import ConfigError
from isocenter.simulate import PROFILES, ScannerProfile, scan
from isocenter.volume import Grid

PLAIN = ScannerProfile("Test", "One", "K", blur_mm=0.0, edge=0.0, noise_hu=20.0, grain_mm=0.0, table=False)


class Water:
    """A cylinder of water along z; with ``top_mm``, only below that height."""

    def __init__(self, diameter_mm: float = 300.0, top_mm: float = np.inf, hu: float = 0.0) -> None:
        self.diameter_mm, self.top_mm, self.hu = diameter_mm, top_mm, hu

    def planes(
        self, grid: Grid, *, labelled: slice = slice(None)
    ) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.uint8]]]:
        rows, columns = np.meshgrid(np.arange(grid.shape[1]), np.arange(grid.shape[2]), indexing="ij")
        for k in range(grid.shape[0]):
            x, y, z = np.moveaxis(grid.to_world(np.stack([np.full_like(rows, k), rows, columns], -1)), -1, 0)
            inside = (np.hypot(x, y) < self.diameter_mm / 2) & (z < self.top_mm)
            yield k, np.where(inside, self.hu, -1000).astype(np.float32)[None], np.full((1, *x.shape), k, np.uint8)


def _grid(slices: int = 8, slice_mm: float = 3.0, matrix: int = 128, pixel: float = 3.0) -> Grid:
    corner = -pixel * (matrix - 1) / 2
    return Grid.regular((slices, matrix, matrix), spacing_mm=(slice_mm, pixel, pixel), origin_mm=(corner, corner, 0))


def _middle(profile: ScannerProfile, grid: Grid, diameter_mm: float = 300.0) -> NDArray[np.float64]:
    image, _ = scan(Water(diameter_mm), grid, profile, np.random.default_rng(5))
    n = grid.shape[1] // 2
    return image.array[0, :, n - 25 : n + 25, n - 25 : n + 25].astype(np.float64)


@pytest.mark.parametrize("grain_mm", [0.0, 2.0, 4.0])
def test_noise_in_water_is_the_stated_one(grain_mm: float) -> None:
    profile = replace(PLAIN, grain_mm=grain_mm, thickness_mm=3.0)
    found = _middle(profile, _grid())
    assert found.std() == pytest.approx(20.0, rel=0.05)
    assert found.mean() == pytest.approx(0.0, abs=1.0)


@pytest.mark.parametrize(
    ("thickness_mm", "dose", "expected"), [(3.0, 0.25, 40.0), (6.0, 1.0, 14.142), (1.5, 0.5, 40.0)]
)
def test_noise_grows_with_less_dose_and_thinner_slices(thickness_mm: float, dose: float, expected: float) -> None:
    found = _middle(replace(PLAIN, thickness_mm=thickness_mm, dose=dose), _grid(slice_mm=thickness_mm))
    assert found.std() == pytest.approx(expected, rel=0.05)


def test_noise_grows_with_the_patient() -> None:
    profile = replace(PLAIN, thickness_mm=3.0)
    small, large = (_middle(profile, _grid(), d).std() for d in (220.0, 370.0))
    assert small < 16 < 25 < large


def test_every_pixel_of_a_slice_has_its_own_noise_and_slices_are_independent() -> None:
    found = _middle(replace(PLAIN, thickness_mm=3.0, grain_mm=3.0), _grid())
    one, other = found[0].ravel(), found[1].ravel()
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.1


def test_grain_has_a_size_and_no_coarse_part() -> None:
    fine, coarse = (_middle(replace(PLAIN, thickness_mm=3.0, grain_mm=g), _grid()) for g in (0.0, 3.0))

    def neighbours(a: NDArray[np.float64]) -> float:
        return float(np.corrcoef(a[:, :, 1:].ravel(), a[:, :, :-1].ravel())[0, 1])

    assert abs(neighbours(fine)) < 0.05
    assert neighbours(coarse) > 0.4
    # filtered back-projection: the spectrum rises from little at low frequency to a peak, unlike smoothed white noise
    power = (np.abs(np.fft.fft2(coarse)) ** 2).mean(axis=0)
    cycles = np.hypot(*np.meshgrid(np.fft.fftfreq(50, 3.0), np.fft.fftfreq(50, 3.0)))  # per mm
    low, middle, high = (power[(cycles > a) & (cycles < b)].mean() for a, b in ((0, 0.015), (0.03, 0.05), (0.14, 0.2)))
    assert middle > 2 * low
    assert middle > 10 * high


@pytest.mark.parametrize(("slice_mm", "thickness_mm"), [(5.0, 5.0), (2.5, 5.0), (4.0, 5.0), (5.0, 2.0)])
def test_a_slice_averages_over_its_thickness(slice_mm: float, thickness_mm: float) -> None:
    grid = _grid(slices=12, slice_mm=slice_mm, matrix=16, pixel=2.0)
    top = 5 * slice_mm + 0.31
    profile = replace(PLAIN, thickness_mm=thickness_mm, slice_mm=slice_mm)
    image, _ = scan(Water(1e4, top), grid, profile, np.random.default_rng(0), noise=0)
    centre = grid.to_world([[k, 8, 8] for k in range(12)])[:, 2]
    share = np.clip((top - centre) / thickness_mm + 0.5, 0, 1)
    # the thickness is sampled in steps of at most 1.7 mm
    assert np.abs(image.array[0, :, 8, 8] - (-1000 + 1000 * share)).max() <= 1000 * 0.86 / thickness_mm
    assert ((share > 0.05) & (share < 0.95)).any()


def test_labels_are_those_of_the_middle_plane_of_a_slice() -> None:
    grid = _grid(slices=4, slice_mm=5.0, matrix=16)
    _, labels = scan(Water(), grid, replace(PLAIN, thickness_mm=5.0), np.random.default_rng(0))
    assert (np.diff(labels.array[0, :, 0, 0].astype(int)) == 3).all(), "three fine planes a slice of 5 mm"
    assert labels.grid == grid


@pytest.mark.parametrize("blur_mm", [1.0, 2.0])
def test_an_edge_is_as_blurred_as_stated(blur_mm: float) -> None:
    grid = _grid(slices=1, matrix=256, pixel=0.5)
    image, _ = scan(Water(60.0), grid, replace(PLAIN, blur_mm=blur_mm), np.random.default_rng(0), noise=0)
    line = image.array[0, 0, 128, 128:].astype(float)
    slope = -np.diff(line)
    at = np.arange(len(slope)) * 0.5
    centre = (slope * at).sum() / slope.sum()
    assert np.sqrt((slope * (at - centre) ** 2).sum() / slope.sum()) == pytest.approx(blur_mm, rel=0.1)


def test_edge_enhancement_overshoots() -> None:
    grid = _grid(slices=1, matrix=128, pixel=1.0)
    soft, sharp = (
        scan(Water(60.0), grid, replace(PLAIN, blur_mm=0.6, edge=e), np.random.default_rng(0), noise=0)[0].array
        for e in (0.0, 0.6)
    )
    assert soft.max() == 0
    assert sharp.max() > 50


def test_values_are_whole_and_held_within_what_is_stored() -> None:
    grid = _grid(slices=2, matrix=32)
    image, _ = scan(Water(60.0, hu=5000.0), grid, replace(PLAIN, noise_hu=60.0), np.random.default_rng(0))
    assert image.array.dtype == np.int16
    assert (image.array.min(), image.array.max()) == (-1024, 3071)


def test_the_table_lies_behind_the_patient_and_nowhere_else() -> None:
    grid = _grid(slices=2, matrix=160, pixel=2.0)
    bare, seen = (
        scan(Water(200.0), grid, replace(PLAIN, table=t), np.random.default_rng(0), noise=0)[0].array[0]
        for t in (False, True)
    )
    changed = np.argwhere(bare != seen)
    assert len(changed)
    assert (bare[bare != seen] == -1000).all()
    assert (grid.to_world(changed)[:, 1] > 70).all()
    assert seen[bare != seen].max() > -800


def test_the_scanners_differ_and_state_what_they_are() -> None:
    assert len({(p.name, p.kernel) for p in PROFILES}) == len(PROFILES) >= 3
    assert {p.intercept for p in PROFILES} == {-1024, 0}
    thin = PROFILES[3].sliced(2.0)
    assert (thin.slice_mm, thin.thickness_mm) == (2.0, 2.5)


@pytest.mark.parametrize("wrong", [{"slice_mm": 0.0}, {"dose": -1.0}, {"noise_hu": float("nan")}, {"intercept": 7}])
def test_wrong_profiles_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)).split("_")[0]):
        replace(PLAIN, **wrong)  # type: ignore[arg-type]
