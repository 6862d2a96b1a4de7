"""Measurements against analytic shapes, scikit-image and SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from skimage import measure as skm

from isocenter.postprocess import (
    axial_axes,
    bounding_box,
    centroid_mm,
    intensity_under,
    mask_volume_ml,
    volumes_ml,
)
from isocenter.records import GeometryError, LabelError, LabelSchema, ValueRangeError
from isocenter.volume import Grid

SPACING = (1.5, 0.7, 0.6)


def ellipsoid(grid: Grid, center_mm: tuple[float, ...], radii_mm: tuple[float, ...]) -> NDArray[np.bool_]:
    """Voxels whose centre lies in an ellipsoid along the patient axes (radii x, y, z)."""
    world = grid.to_world(np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1))
    return np.asarray((((world - center_mm) / radii_mm) ** 2).sum(-1) <= 1)


def blob(seed: int) -> NDArray[np.bool_]:
    """An irregular mask of several parts."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(14, 40, 36)), 3)
    return np.asarray(noise > 0.25 * noise.max())


def as_sitk(mask: NDArray[np.bool_], grid: Grid) -> sitk.Image:
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(grid.spacing_mm[::-1])
    image.SetOrigin(grid.origin_mm.tolist())
    image.SetDirection(grid.directions[:, ::-1].ravel().tolist())
    return image


def oblique(shape: tuple[int, int, int]) -> Grid:
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn * SPACING
    affine[:3, 3] = (12.0, -40.0, 7.5)
    return Grid(shape, affine)


def test_sphere_measures_equal_analytic_truth_within_one_percent() -> None:
    grid = Grid.regular((140, 150, 160), spacing_mm=(0.5, 0.45, 0.4), origin_mm=(-30.0, -35.0, -33.0))
    center, radius = (2.3, -1.2, 1.7), 28.0
    mask = ellipsoid(grid, center, (radius,) * 3)
    axes = axial_axes(mask, grid)
    assert axes is not None
    assert mask_volume_ml(mask, grid) == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.01)
    assert axes.long_mm == pytest.approx(2 * radius, rel=0.01)
    assert axes.short_mm == pytest.approx(2 * radius, rel=0.01)
    np.testing.assert_allclose(centroid_mm(mask, grid), center, atol=0.02)
    assert axes.ends_mm[:, 2] == pytest.approx(center[2], abs=6.0)  # a plane near the equator
    assert np.linalg.norm(axes.ends_mm[0] - axes.ends_mm[1]) == pytest.approx(axes.long_mm)


@pytest.mark.parametrize("orientation", ["SPL", "LIP", "ASR"])
def test_ellipsoid_axes_lie_in_the_axial_plane_whatever_the_index_order(orientation: str) -> None:
    grid = Grid.regular((150, 150, 150), spacing_mm=(0.5, 0.5, 0.5)).reorient(orientation)
    mask = ellipsoid(grid, (38.0, 37.0, 36.0), (30.0, 18.0, 35.0))  # the longest, head to foot, must not be taken
    axes = axial_axes(mask, grid)
    assert axes is not None
    assert axes.long_mm == pytest.approx(60.0, rel=0.01)
    assert axes.short_mm == pytest.approx(36.0, rel=0.015)


@pytest.mark.parametrize("seed", range(4))
def test_long_axis_equals_feret_diameter_of_skimage(seed: int) -> None:
    mask = blob(seed)
    grid = Grid.regular(mask.shape, spacing_mm=(3.0, 0.7, 0.7))
    ferets = [skm.regionprops(plane.astype(np.uint8))[0].feret_diameter_max for plane in mask if plane.any()]
    axes = axial_axes(mask, grid)
    assert axes is not None
    assert axes.long_mm == pytest.approx(0.7 * max(ferets), rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("grid_of", [oblique, lambda shape: Grid.regular(shape, spacing_mm=SPACING)])
def test_volume_centroid_and_box_agree_with_simpleitk(seed: int, grid_of: object) -> None:
    mask = blob(seed)
    grid = grid_of(mask.shape)  # type: ignore[operator]
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(as_sitk(mask, grid))
    assert mask_volume_ml(mask, grid) == pytest.approx(shapes.GetPhysicalSize(1) / 1000, rel=1e-6)
    np.testing.assert_allclose(centroid_mm(mask, grid), shapes.GetCentroid(1), atol=1e-4)
    box = bounding_box(mask)
    assert box is not None
    x, y, z, nx, ny, nz = shapes.GetBoundingBox(1)
    assert box == ((z, y, x), (z + nz, y + ny, x + nx))


def test_sheared_grid_gives_the_same_diameter_in_the_same_plane() -> None:
    straight = Grid.regular((9, 60, 60), spacing_mm=(4, 1, 1))
    affine = straight.affine.copy()
    affine[1, 0] = 1.4  # a tilted gantry: each slice is shifted to the back
    mask = np.zeros(straight.shape, bool)
    mask[4] = ellipsoid(straight, (30, 30, 16), (20, 12, 3))[4]
    one, other = axial_axes(mask, straight), axial_axes(mask, Grid(straight.shape, affine))
    assert one is not None
    assert other is not None
    assert other.long_mm == pytest.approx(one.long_mm)
    assert other.short_mm == pytest.approx(one.short_mm)


def test_one_voxel_has_the_size_of_the_voxel() -> None:
    mask = np.zeros((3, 5, 5), bool)
    mask[1, 2, 2] = True
    axes = axial_axes(mask, Grid.regular((3, 5, 5), spacing_mm=(5.0, 2.0, 2.0)))
    assert axes is not None
    assert axes.long_mm == pytest.approx(2.0)


def test_nothing_measured_on_nothing() -> None:
    mask = np.zeros((2, 3, 4), bool)
    grid = Grid.regular((2, 3, 4), spacing_mm=(1, 1, 1))
    assert mask_volume_ml(mask, grid) == 0
    assert bounding_box(mask) is None
    assert centroid_mm(mask, grid) is None
    assert axial_axes(mask, grid) is None
    assert intensity_under(np.ones((2, 3, 4)), mask) is None


def test_intensities_agree_with_simpleitk_and_numpy() -> None:
    mask = blob(1)
    image = np.random.default_rng(2).normal(40, 12, mask.shape)
    stats = sitk.LabelStatisticsImageFilter()
    stats.Execute(sitk.GetImageFromArray(image), sitk.GetImageFromArray(mask.astype(np.uint8)))
    found = intensity_under(image, mask, percentiles=(10, 50, 90))
    assert found is not None
    assert found.mean == pytest.approx(stats.GetMean(1))
    assert found.std == pytest.approx(stats.GetSigma(1), rel=1e-3)  # sample against population
    assert (found.minimum, found.maximum) == pytest.approx((stats.GetMinimum(1), stats.GetMaximum(1)))
    assert found.percentiles[50] == pytest.approx(np.median(image[mask]))
    assert found.count == stats.GetCount(1)


def test_values_that_are_not_finite_do_not_count() -> None:
    image = np.array([[[1.0, np.nan, 3.0, np.inf]]])
    found = intensity_under(image, np.ones((1, 1, 4), bool))
    assert found is not None
    assert (found.count, found.mean) == (2, 2.0)


def test_volumes_of_exclusive_and_overlapping_structures() -> None:
    grid = Grid.regular((1, 2, 3), spacing_mm=(10.0, 10.0, 10.0))
    labels = np.array([[[1, 2, 2], [0, 0, 9]]])
    exclusive = LabelSchema.of({"a": 1, "b": 2, "c": 3}, ignore=9)
    assert volumes_ml(exclusive.encode(labels), exclusive, grid) == pytest.approx({"a": 1, "b": 2, "c": 0})
    regions = LabelSchema.of({"whole": (1, 2), "core": 2}, ignore=9)
    assert volumes_ml(regions.encode(labels), regions, grid) == pytest.approx({"whole": 3, "core": 2})
    with pytest.raises(LabelError, match="2 channels"):
        volumes_ml(regions.encode(labels), exclusive, grid)


def test_shapes_that_do_not_fit_are_refused() -> None:
    grid = Grid.regular((2, 2, 2), spacing_mm=(1, 1, 1))
    mask = np.ones((1, 2, 2), bool)
    for measure in (mask_volume_ml, centroid_mm, axial_axes):
        with pytest.raises(GeometryError, match=r"mask of shape \(1, 2, 2\)"):
            measure(mask, grid)
    with pytest.raises(GeometryError, match="do not fit"):
        intensity_under(np.ones((2, 2, 2)), mask)
    with pytest.raises(ValueRangeError, match=r"0\.\.100"):
        intensity_under(np.ones((1, 2, 2)), mask, percentiles=(101,))
