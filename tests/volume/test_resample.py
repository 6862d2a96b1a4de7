"""Resampling of images against scipy, SimpleITK and torch, and what must hold whatever the kernel."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tests.volume.lattices import angles, grids, turned
from tests.volume.references import cubic_weights, linear_weights, places_in, weighted

from isocenter.errors import GeometryError
from isocenter.volume import Grid, Volume, resample

some = settings(max_examples=30)
sizes = st.tuples(*[st.integers(3, 9)] * 3)


def noise(grid: Grid, seed: int = 0, sigma: float = 0.8) -> Volume:
    values = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=grid.shape), sigma)
    return Volume((values * 100).astype(np.float32), grid)


def inside(grid: Grid, source: Grid, margin: float = 0.0) -> np.ndarray:
    """Voxels of ``grid`` that lie at least ``margin`` voxels within the outermost centres of ``source``."""
    index = source.to_index(grid.to_world(np.stack(np.indices(grid.shape), -1)))
    return ((index >= margin) & (index <= np.array(source.shape) - 1 - margin)).all(-1)


def as_sitk(volume: Volume) -> sitk.Image:
    image = sitk.GetImageFromArray(volume.array[0])
    image.SetSpacing(volume.grid.spacing_mm[::-1])
    image.SetOrigin(volume.grid.origin_mm.tolist())
    image.SetDirection(volume.grid.directions[:, ::-1].ravel().tolist())
    return image


SOURCE = turned((9, 12, 11), (2.0, 1.0, 1.5), degrees=(10, -20, 30), origin_mm=(5, 6, 7))
TARGET = turned((7, 10, 9), (1.7, 1.0, 1.4), degrees=(14, -12, 21), shear=0.2, origin_mm=(7, 9, 10))


@given(grids(shapes=sizes))
def test_the_same_grid_gives_the_same_values(grid: Grid) -> None:
    volume = noise(grid)
    for how in ("nearest", "linear", "cubic"):
        again = resample(volume, Grid(grid.shape, grid.affine), interpolation=how)
        np.testing.assert_array_equal(again.array, volume.array)


TARGETS = [
    TARGET,
    SOURCE.respaced((1.5, 0.9, 1.2)),
    SOURCE.flip([0, 2]),
    SOURCE.respaced((3, 0.8, 1)).permute((2, 0, 1)),
]


@pytest.mark.parametrize("target", TARGETS)
def test_linear_values_agree_with_scipy(target: Grid) -> None:
    volume = noise(SOURCE)
    found = resample(volume, target, antialias=False)
    places = places_in(SOURCE, target)
    expected = ndimage.map_coordinates(volume.array[0].astype(np.float64), places.T, order=1, mode="nearest")
    assert found.array.dtype == np.float32
    assert found.grid == target
    np.testing.assert_allclose(found.array.ravel(), expected, atol=1e-4)


@pytest.mark.parametrize("target", TARGETS)
def test_cubic_values_are_those_of_a_hermite_spline_with_central_differences(target: Grid) -> None:
    volume = noise(SOURCE)
    found = resample(volume, target, interpolation="cubic", antialias=False).array.ravel()
    expected = weighted(volume.array[0], places_in(SOURCE, target), cubic_weights)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@some
@given(
    grids(shapes=st.tuples(*[st.integers(4, 9)] * 3), shear=False), st.tuples(*[angles] * 3),
    st.floats(0.3, 1.0),
)  # fmt: skip
def test_linear_values_agree_with_simpleitk(grid: Grid, degrees, scale: float) -> None:
    volume = noise(grid)
    target = turned((5, 7, 6), (scale * min(grid.spacing_mm),) * 3, degrees=degrees)
    affine = target.affine.copy()
    affine[:3, 3] += grid.center_mm - target.center_mm
    target = Grid(target.shape, affine)
    like = as_sitk(Volume(np.zeros(target.shape, np.float32), target))
    expected = sitk.GetArrayFromImage(sitk.Resample(as_sitk(volume), like, sitk.Transform(), sitk.sitkLinear, 0.0))
    found = resample(volume, target, antialias=False)
    where = inside(target, grid, 1e-4)
    assert where.any()
    np.testing.assert_allclose(found.array[0][where], expected[where], atol=0.02)


@given(grids(shapes=sizes), st.permutations([0, 1, 2]), st.sets(st.sampled_from([0, 1, 2])), st.data())
def test_shifts_flips_and_turns_by_whole_voxels_are_exact(grid: Grid, order, flips, data: st.DataObject) -> None:
    volume = Volume(np.arange(np.prod(grid.shape), dtype=np.int32).reshape(grid.shape), grid)
    shift = np.array([data.draw(st.integers(1 - n, n - 1)) for n in grid.shape])
    expected = volume.crop(shift, shift + grid.shape).permute(order).flip(sorted(flips))
    found = resample(volume, expected.grid, interpolation="nearest", fill=0)
    assert found.array.dtype == np.int32
    np.testing.assert_array_equal(found.array, expected.array)


@some
@given(grids(shapes=sizes), grids(shapes=sizes), st.sampled_from(["linear", "cubic"]), st.booleans())
def test_a_linear_ramp_is_a_linear_ramp_on_any_grid(a: Grid, b: Grid, how: str, antialias: bool) -> None:
    slope = np.array([0.7, -0.4, 0.2])
    b = Grid(b.shape, np.column_stack([b.affine[:, :3] * 0.3, [*a.center_mm, 1]]))
    volume = Volume((a.to_world(np.stack(np.indices(a.shape), -1)) - a.center_mm) @ slope, a)
    found = resample(volume, b, interpolation=how, antialias=antialias)
    expected = (b.to_world(np.stack(np.indices(b.shape), -1)) - a.center_mm) @ slope
    # kernels reach beyond the border, where it is repeated
    shrink = np.abs(b.index_map_to(a)[:3, :3]).max(axis=1).clip(1).max() if antialias else 1.0
    margin = 0.0 if how == "linear" and shrink <= 1.01 else (2 if how == "cubic" else 1) * shrink
    where = inside(b, a, margin)
    scale = np.abs(volume.array).max()
    np.testing.assert_allclose(found.array[0][where], expected[where], atol=2e-3 * scale)


def test_the_ramp_is_checked_somewhere_for_every_kernel() -> None:
    source = turned((40, 40, 40), (1, 1, 1), degrees=(3, 5, 7))
    target = turned((8, 8, 8), (1.4, 1.7, 1.1), degrees=(9, -4, 2))
    target = Grid(target.shape, np.column_stack([target.affine[:, :3], [*(source.center_mm - 6), 1]]))
    slope = np.array([1.0, -2.0, 3.0])
    volume = Volume(source.to_world(np.stack(np.indices(source.shape), -1)) @ slope, source)
    expected = target.to_world(np.stack(np.indices(target.shape), -1)) @ slope
    assert inside(target, source, 10).all()
    for how in ("linear", "cubic"):
        for antialias in (True, False):
            found = resample(volume, target, interpolation=how, antialias=antialias).array[0]
            np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("how", ["linear", "cubic"])
def test_downsampling_by_4_takes_away_what_the_coarse_grid_cannot_hold(axis: int, how: str) -> None:
    shape = [16, 16, 16]
    shape[axis] = 64
    grid = Grid.regular(shape, spacing_mm=(1, 1, 1))
    stripes = np.indices(grid.shape)[axis] % 2 * 2.0 - 1.0
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 4.0
    # centres on old centres: without smoothing one stripe would be picked throughout
    coarse = grid.respaced(spacing)
    coarse = Grid(coarse.shape, np.column_stack([coarse.affine[:, :3], [*(coarse.origin_mm + 0.5), 1]]))
    aliased = resample(Volume(stripes, grid), coarse, interpolation=how, antialias=False).array
    smooth = resample(Volume(stripes, grid), coarse, interpolation=how).array
    assert np.abs(aliased).max() > 0.9
    interior = (slice(None), *[slice(2, -2)] * 3)
    assert np.abs(smooth[interior]).max() < 0.05


@some
@given(grids(shapes=sizes), st.tuples(*[st.floats(0.4, 5)] * 3), st.floats(-1000, 1000))
def test_a_constant_stays_constant(grid: Grid, factors, value: float) -> None:
    volume = Volume(np.full(grid.shape, value, np.float32), grid)
    target = grid.respaced([s * f for s, f in zip(grid.spacing_mm, factors, strict=True)])
    for how in ("linear", "cubic"):
        found = resample(volume, target, interpolation=how).array
        np.testing.assert_allclose(found, value, atol=1e-4 * max(abs(value), 1))


def test_downsampling_keeps_the_mean() -> None:
    grid = Grid.regular((32, 64, 64), spacing_mm=(2, 1, 1))
    organ = ndimage.gaussian_filter(np.pad(np.full((16, 32, 32), 40.0), [(8, 8), (16, 16), (16, 16)]), 2)
    stripes = np.where(organ > 1, 30.0 * (np.indices(grid.shape)[2] % 2) - 15, 0)
    # columns on every fourth column: all of them stripes of one kind
    coarse_grid = Grid.regular((16, 32, 16), spacing_mm=(4, 2, 4), origin_mm=(1, 0.5, 1))
    masses = {}
    for antialias in (True, False):
        coarse = resample(Volume(organ + stripes, grid), coarse_grid, antialias=antialias)
        masses[antialias] = coarse.array.sum() * coarse_grid.voxel_volume_ml
    assert masses[True] == pytest.approx(organ.sum() * grid.voxel_volume_ml, rel=0.01)
    assert masses[False] != pytest.approx(organ.sum() * grid.voxel_volume_ml, rel=0.02)


def test_the_thick_axis_is_interpolated_linearly_even_where_cubic_is_asked_for() -> None:
    thick = Grid.regular((6, 20, 20), spacing_mm=(5, 1, 1))
    step = np.zeros(thick.shape, np.float32)
    step[3:] = 100
    fine = thick.respaced((1, 1, 1))
    cubic = resample(Volume(step, thick), fine, interpolation="cubic").array
    assert cubic.min() >= -1e-3, "cubic interpolation would undershoot a step between slices"
    assert cubic.max() <= 100 + 1e-3
    np.testing.assert_allclose(cubic, resample(Volume(step, thick), fine, interpolation="linear").array, atol=1e-3)
    # in the plane it is cubic, and on a grid without a thick axis it is cubic throughout
    in_plane = resample(Volume(step.transpose(2, 1, 0), Grid.regular((20, 20, 6), spacing_mm=(1, 1, 1))),
                        Grid.regular((20, 20, 26), spacing_mm=(1, 1, 0.2)), interpolation="cubic").array  # fmt: skip
    assert in_plane.min() < -1
    lines = noise(thick)
    finer = thick.respaced((2, 0.5, 0.5))
    found = resample(lines, finer, interpolation="cubic").array
    z, y, x = (np.unique(places_in(thick, finer)[:, a].round(9)) for a in range(3))
    expected = np.einsum("ia,jb,kc,abc->ijk", linear_weights(z, 6), cubic_weights(y, 20), cubic_weights(x, 20),
                         lines.array[0].astype(np.float64), optimize=True)  # fmt: skip
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


@given(grids(shapes=sizes), st.floats(-5000, 5000))
def test_voxels_outside_the_source_take_the_fill(grid: Grid, fill: float) -> None:
    volume = Volume(np.ones(grid.shape, np.float32), grid)
    padded = resample(volume, grid.pad((2, 0, 1), (0, 3, 0)), fill=fill)
    expected = volume.pad((2, 0, 1), (0, 3, 0), fill=np.float32(fill))
    np.testing.assert_allclose(padded.array, expected.array, rtol=1e-6)
    repeated = resample(volume, grid.pad((2, 0, 1), (0, 3, 0)))
    np.testing.assert_allclose(repeated.array, 1, rtol=1e-6)


def test_half_a_voxel_beyond_the_outermost_centre_is_still_inside() -> None:
    row = Volume(np.ones((1, 1, 4), np.float32), Grid.regular((1, 1, 4), spacing_mm=(1, 1, 1)))
    wide = Grid.regular((1, 1, 6), spacing_mm=(1, 1, 1), origin_mm=(-0.9, 0, 0))
    assert resample(row, wide, fill=-7).array.ravel().tolist() == [-7, 1, 1, 1, 1, -7]
    assert resample(row, Grid.regular((1, 1, 1), spacing_mm=(1, 1, 1), origin_mm=(3.5, 0, 0)), fill=-7).array == 1


def test_channels_are_treated_alike() -> None:
    volume = noise(SOURCE)
    both = Volume(np.concatenate([volume.array, 2 * volume.array]), SOURCE)
    found = resample(both, TARGET).array
    np.testing.assert_allclose(found[1], 2 * found[0], rtol=1e-5)


def test_different_frames_of_reference_are_refused() -> None:
    grids_ = [Grid(SOURCE.shape, SOURCE.affine, frame) for frame in ("1.2.3", "1.2.4", None)]
    volumes = [Volume(np.zeros(SOURCE.shape), g) for g in grids_]
    with pytest.raises(GeometryError, match=r"frames? of reference"):
        resample(volumes[0], grids_[1])
    assert resample(volumes[0], grids_[2]).grid == grids_[2]
    assert resample(volumes[2], grids_[1]).grid == grids_[1]
