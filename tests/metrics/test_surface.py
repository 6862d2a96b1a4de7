from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from isocenter.errors import ConfigError, GeometryError
from isocenter.metrics import assd, border, diagonal_mm, hd95, nsd, surface_distances

SPACING = (3.0, 0.7, 1.1)
masks = arrays(bool, (4, 6, 5))


def blobs(seed: int, shape: tuple[int, ...] = (9, 24, 21)) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, [min(2.0, n / 6) for n in shape]) > 0.01


def by_distance_transform(a, b, spacing, structure):
    """Directed distances by scipy's exact distance transform of the whole image: the independent reference."""
    edge_a, edge_b = (m & ~ndimage.binary_erosion(m, structure) for m in (a, b))
    return (
        ndimage.distance_transform_edt(~edge_b, spacing)[edge_a],
        ndimage.distance_transform_edt(~edge_a, spacing)[edge_b],
    )


def reference(a, b, spacing, tolerance, structure=None):
    first, second = by_distance_transform(a, b, spacing, structure)
    pooled = np.concatenate([first, second])
    return (
        max(np.percentile(first, 95), np.percentile(second, 95)),
        pooled.mean(),
        (pooled <= tolerance + 1e-6).mean(),
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), SPACING])
def test_agrees_with_the_distance_transform(seed, spacing):
    a, b = blobs(seed), blobs(seed + 100)
    found = hd95(a, b, spacing), assd(a, b, spacing), nsd(a, b, spacing, 1.4)
    assert found == pytest.approx(reference(a, b, spacing, 1.4), rel=1e-9)


@given(masks.filter(np.any), masks.filter(np.any))
@settings(max_examples=60)
def test_agrees_with_the_distance_transform_on_any_masks(a, b):
    found = hd95(a, b, SPACING), assd(a, b, SPACING), nsd(a, b, SPACING, 2.2)
    assert found == pytest.approx(reference(a, b, SPACING, 2.2), rel=1e-9)


def test_one_slice_has_a_contour_and_not_a_sheet():
    a, b = blobs(1, (1, 40, 40)), blobs(2, (1, 40, 40))
    in_plane = ndimage.generate_binary_structure(2, 1)[None]  # erodes within the slice only
    assert 0 < border(a).sum() < a.sum()
    found = hd95(a, b, SPACING), assd(a, b, SPACING), nsd(a, b, SPACING, 1.4)
    assert found == pytest.approx(reference(a, b, SPACING, 1.4, in_plane), rel=1e-9)
    flat = hd95(a[0], b[0], SPACING[1:]), assd(a[0], b[0], SPACING[1:]), nsd(a[0], b[0], SPACING[1:], 1.4)
    assert found == pytest.approx(flat)


def test_a_thin_object_in_a_volume_is_a_sheet():
    mask = np.zeros((5, 8, 8), bool)
    mask[2, 1:7, 1:7] = True
    assert (border(mask) == mask).all()
    assert border(mask[2:3]).sum() == 20  # alone in its image: a contour
    assert border(np.ones((1, 1, 1), bool)).all()


def test_agrees_with_simpleitk_hausdorff():
    import SimpleITK

    a, b = ndimage.binary_fill_holes(blobs(3)), ndimage.binary_fill_holes(blobs(4))
    a[:, 0] = b[:, 0] = a[:, -1] = b[:, -1] = False
    # the filter measures from all voxels of a mask, not from its surface: give it the surfaces
    images = [SimpleITK.GetImageFromArray(border(m).astype(np.uint8)) for m in (a, b)]
    for image in images:
        image.SetSpacing(SPACING[::-1])
    measured = SimpleITK.HausdorffDistanceImageFilter()
    measured.Execute(*images)
    assert surface_distances(a, b, SPACING).percentile_mm(100) == pytest.approx(measured.GetHausdorffDistance())


def test_agrees_with_monai():
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    a, b = blobs(5), blobs(6)
    x, y = (torch.from_numpy(m)[None, None].float() for m in (a, b))
    kind = {"include_background": True, "spacing": SPACING}
    assert hd95(a, b, SPACING) == pytest.approx(compute_hausdorff_distance(x, y, percentile=95, **kind).item(), 1e-5)
    assert assd(a, b, SPACING) == pytest.approx(
        compute_average_surface_distance(x, y, symmetric=True, **kind).item(), 1e-5
    )
    expected = compute_surface_dice(x, y, [1.5], **kind).item()
    assert 0 < expected < 1
    assert nsd(a, b, SPACING, 1.5) == pytest.approx(expected, 1e-5)


@given(masks, masks)
@settings(max_examples=60)
def test_symmetric_bounded_and_never_nan(a, b):
    found = surface_distances(a, b, SPACING)
    back = surface_distances(b, a, SPACING)
    limit = diagonal_mm(a.shape, SPACING)
    assert found.percentile_mm() == back.percentile_mm()
    assert found.mean_mm() == pytest.approx(back.mean_mm())
    assert 0 <= found.mean_mm() <= limit
    assert 0 <= found.percentile_mm(50) <= found.percentile_mm() <= found.percentile_mm(100) <= limit
    assert 0 <= found.within(0) <= found.within(1.5) <= found.within(limit) <= 1
    assert surface_distances(a, a, SPACING).percentile_mm(100) == 0


@given(masks, masks, st.integers(1, 3), st.floats(0.1, 10))
@settings(max_examples=40)
def test_moves_and_scales_with_the_image(a, b, margin, scale):
    wide = [np.pad(m, margin) for m in (a, b)]
    other = surface_distances(*wide, tuple(s * scale for s in SPACING), penalty_mm=7.0 * scale)
    here = surface_distances(a, b, SPACING, penalty_mm=7.0)
    assert other.percentile_mm() == pytest.approx(here.percentile_mm() * scale, abs=1e-9)
    assert other.within(2.2 * scale) == pytest.approx(here.within(2.2))


@given(masks.filter(np.any), masks.filter(np.any))
@settings(max_examples=30)
def test_sheared_grid_matches_points_in_space(a, b):
    from scipy.spatial.distance import cdist

    steps = np.array([[3.0, 0, 0], [0.9, 0.7, 0], [0, 0, 1.1]])  # tilted gantry
    points = [np.argwhere(border(m)) @ steps.T for m in (a, b)]
    table = cdist(*points)
    expected = max(np.percentile(table.min(axis=1), 95), np.percentile(table.min(axis=0), 95))
    assert hd95(a, b, steps) == pytest.approx(expected)


def test_missed_and_false_structures_pay_the_penalty():
    truth, empty = np.zeros((5, 30, 40), bool), np.zeros((5, 30, 40), bool)
    truth[2, 3:6, 3:6] = True
    spacing = (2.0, 1.0, 1.0)
    diagonal = np.sqrt(10**2 + 30**2 + 40**2)
    for pair in ((truth, empty), (empty, truth)):
        assert hd95(*pair, spacing) == pytest.approx(diagonal)
        assert assd(*pair, spacing) == pytest.approx(diagonal)
        assert nsd(*pair, spacing, 1e6) == 0
        assert hd95(*pair, spacing, penalty_mm=12.5) == 12.5
    assert hd95(empty, empty, spacing) == assd(empty, empty, spacing) == 0
    assert nsd(empty, empty, spacing, 1.0) == 1


def test_diagonal_of_a_sheared_grid_is_its_longest():
    steps = np.array([[1.0, 0], [-1, 1]])
    corners = np.array([[0, 0], [3, 0], [0, 3], [3, 3]]) @ steps.T
    expected = max(np.linalg.norm(p - q) for p in corners for q in corners)
    assert diagonal_mm((3, 3), steps) == pytest.approx(expected)


def test_tolerance_includes_distances_that_equal_it():
    a, b = np.zeros(9, bool), np.zeros(9, bool)
    a[1], b[4] = True, True
    assert 3 * 0.7 != 2.1
    assert nsd(a, b, (0.7,), 2.1) == 1
    assert nsd(a, b, (0.7,), 2.0) == 0


def test_refuses_nonsense():
    mask = np.ones((2, 2), bool)
    with pytest.raises(ConfigError, match="tolerance"):
        nsd(mask, mask, (1, 1), -1)
    with pytest.raises(ConfigError, match="percentile"):
        surface_distances(mask, mask, (1, 1)).percentile_mm(101)
    with pytest.raises(ConfigError, match="penalty"):
        hd95(mask, mask, (1, 1), penalty_mm=float("nan"))
    with pytest.raises(GeometryError, match="invertible"):
        hd95(mask, mask, np.ones((2, 2)))


def test_large_balls_are_fast():
    z, y, x = np.ogrid[:256, :256, :256]
    truth = (z - 128) ** 2 + (y - 128) ** 2 + (x - 128) ** 2 <= 100**2
    prediction = (z - 130) ** 2 + (y - 125) ** 2 + (x - 129) ** 2 <= 103**2
    begin = time.process_time()  # not wall time: the machine may be busy
    found = surface_distances(prediction, truth, (1.5, 0.8, 0.8))
    assert time.process_time() - begin < 1.5
    assert 0 < found.mean_mm() < found.percentile_mm() < 10
