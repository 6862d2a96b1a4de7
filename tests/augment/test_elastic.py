"""Elastic displacement: the spline against scipy, no folds, and boxes and points that move with images and masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage
from scipy.interpolate import NdBSpline

from isocenter.augment import Elastic, SpatialMap, draw_map
from isocenter.plan import AugmentationSpec

seeds = st.integers(0, 2**31)
STRONG = AugmentationSpec(
    rotation_deg=(25, 25, 25), scale=0.2, elastic_mm=(4, 4, 4), elastic_grid_mm=10, mirror=(0, 1, 2),
    spatial_probability=1,
)  # fmt: skip


def draw(seed: int, spec: AugmentationSpec = STRONG, **settings) -> SpatialMap:
    chosen = {"centre": (14, 15, 16), "shape": (18, 20, 22), "spacing_mm": (1.0, 1.0, 1.0), **settings}
    return draw_map(np.random.default_rng(seed), spec, **chosen)


def grid_of(shape) -> np.ndarray:
    return np.moveaxis(np.indices(shape, dtype=float), 0, -1).reshape(-1, 3)


def scipy_displacement(elastic: Elastic, indices: np.ndarray) -> np.ndarray:
    """The same control points in scipy's splines: point i has its middle at i, the grid's middle in the patch's."""
    knots = tuple(np.arange(n + 4) - 2.0 for n in elastic.control.shape[1:])
    middle = (np.array(elastic.control.shape[1:]) - 1) / 2
    at = (indices - (np.array(elastic.shape) - 1) / 2) / elastic.spacing + middle
    return np.stack([NdBSpline(knots, c, 3)(at) for c in elastic.control], -1)


def scipy_places(drawn: SpatialMap) -> np.ndarray:
    indices = grid_of(drawn.shape)
    moved = indices + scipy_displacement(drawn.elastic, indices)
    return (moved @ drawn.matrix[:3, :3].T + drawn.matrix[:3, 3]).T.reshape(3, *drawn.shape)


@settings(max_examples=25, deadline=None)
@given(seeds, st.sampled_from([(1.0, 1.0, 1.0), (3.0, 1.0, 0.8), (12.0, 0.7, 0.7)]))
def test_images_and_labels_agree_with_scipy(seed: int, spacing) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(2, 28, 30, 32)).astype(np.float32)
    labels = rng.integers(0, 9, (1, 28, 30, 32)).astype(np.uint8)
    drawn = draw(seed, spacing_mm=spacing)
    places = scipy_places(drawn)
    found = drawn.sample(torch.from_numpy(image)).numpy()
    for channel, values in zip(found, image, strict=True):
        np.testing.assert_allclose(channel, ndimage.map_coordinates(values, places, order=1, mode="nearest"), atol=1e-3)
    clear = (np.abs(places - np.floor(places) - 0.5) > 1e-4).all(0)
    expected = ndimage.map_coordinates(labels[0], places, order=0, mode="nearest")
    np.testing.assert_array_equal(drawn.sample(torch.from_numpy(labels), "nearest")[0].numpy()[clear], expected[clear])
    size = np.array(image.shape[1:]).reshape(3, 1, 1, 1)
    beyond = ((places < -0.5 - 1e-4) | (places > size - 0.5 + 1e-4)).any(0)
    within = ((places > -0.5 + 1e-4) & (places < size - 0.5 - 1e-4)).all(0)
    filled = drawn.sample(torch.from_numpy(labels), "nearest", outside=200)[0].numpy()
    assert (filled[beyond] == 200).all()
    assert (filled[within] != 200).all()


@given(seeds)
def test_displacement_agrees_with_scipy_and_stays_that_of_the_border_beyond(seed: int) -> None:
    elastic = draw(seed).elastic
    points = np.random.default_rng(seed).uniform(0, np.array(elastic.shape) - 1.0, (50, 3))
    np.testing.assert_allclose(elastic.displacement(points), scipy_displacement(elastic, points), atol=1e-9)
    beyond = points + np.random.default_rng(seed).choice([-30, 0, 30], points.shape)
    border = np.clip(beyond, 0, np.array(elastic.shape) - 1)
    np.testing.assert_allclose(elastic.displacement(beyond), elastic.displacement(border), atol=1e-12)


def test_slopes_stay_below_one_for_the_largest_displacement_that_a_plan_may_ask_for() -> None:
    """Row sums of the Jacobian of the worst field: control points at the bound, signs to match the spline's slopes."""
    t = np.linspace(0, 1, 41)
    u = 1 - t
    values = np.stack([u**3, 3 * t**3 - 6 * t**2 + 4, 3 * u**3 - 6 * u**2 + 4, t**3]) / 6
    slopes = np.stack([-(u**2), 3 * t**2 - 4 * t, -3 * u**2 + 4 * u, t**2]) / 2
    np.testing.assert_allclose(np.gradient(values, t, axis=1)[:, 1:-1], slopes[:, 1:-1], atol=2e-3)
    worst = 0.0
    for x in range(len(t)):
        total = np.einsum("ap,bq,c->abcpq", slopes, values, values[:, x])
        total += np.einsum("ap,bq,c->abcpq", values, slopes, values[:, x])
        total += np.einsum("ap,bq,c->abcpq", values, values, slopes[:, x])
        worst = max(worst, np.abs(total).sum((0, 1, 2)).max())
    assert worst == pytest.approx(2.48, abs=0.01)
    assert 0.4 * worst < 1
    for grid in (10, 40):
        AugmentationSpec(elastic_mm=(0.4 * grid, 0, 0.4 * grid), elastic_grid_mm=grid)
        with pytest.raises(ValidationError, match=r"more than 0.4 of elastic_grid_mm.*could fold.*widen the grid"):
            AugmentationSpec(elastic_mm=(0, 0.41 * grid, 0), elastic_grid_mm=grid)
    with pytest.raises(ValidationError):
        AugmentationSpec(elastic_mm=(-1, 0, 0))


@settings(max_examples=25, deadline=None)
@given(seeds, st.booleans())
def test_maps_do_not_fold_and_have_an_inverse(seed: int, worst: bool) -> None:
    drawn = draw(seed, spacing_mm=(2.0, 1.0, 0.5))
    if worst:  # every control point at the bound
        elastic = drawn.elastic
        largest = 4 / np.array([2.0, 1.0, 0.5]).reshape(3, 1, 1, 1)
        drawn = SpatialMap(
            drawn.matrix,
            drawn.shape,
            elastic=Elastic(np.sign(elastic.control) * largest, elastic.spacing, elastic.shape),
        )
    straight = np.linalg.det(drawn.matrix[:3, :3])
    where = drawn.places(grid_of(drawn.shape)).reshape(*drawn.shape, 3)
    fine = 1e-4
    points = np.random.default_rng(seed).uniform(0, np.array(drawn.shape) - 1.0, (300, 3))
    jacobian = np.stack(
        [(drawn.places(points + fine * e) - drawn.places(points - fine * e)) / (2 * fine) for e in np.eye(3)], -1
    )
    assert (np.linalg.det(jacobian) / straight > 0).all()
    np.testing.assert_allclose(drawn.places(drawn.points(where.reshape(-1, 3))), where.reshape(-1, 3), atol=1e-4)
    outside = np.random.default_rng(seed).uniform(-60, 90, (100, 3))
    np.testing.assert_allclose(drawn.places(drawn.points(outside)), outside, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_a_bright_spot_is_found_where_points_say(seed: int) -> None:
    spec = STRONG.model_copy(update={"elastic_grid_mm": 16.0})
    drawn = draw(seed, spec, shape=(40, 40, 40), centre=(20, 20, 20))
    spot = np.random.default_rng(seed).uniform(14, 26, 3)
    squared = ((grid_of((40, 40, 40)) - spot) ** 2).sum(1).reshape(1, 40, 40, 40)
    image = torch.from_numpy(np.exp(-squared / 8).astype(np.float32))
    found = drawn.sample(image, outside=0)[0].numpy()
    (expected,) = drawn.points(spot[None])
    peak = np.array(np.unravel_index(found.argmax(), found.shape))
    assert np.abs(peak - expected).max() <= 1.0


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_boxes_are_those_around_the_moved_box(seed: int) -> None:
    """Against places of a fine grid over the patch: which of them lie in the box needs no inverse."""
    rng = np.random.default_rng(seed)
    drawn = draw(seed, shape=(24, 24, 24))
    low = rng.uniform(8, 14, 3)
    box = np.concatenate([low, low + rng.uniform(3, 9, 3)])
    (moved,) = drawn.corners(box[None])
    dense = drawn.points(rng.uniform(box[:3], box[3:], (2000, 3)))
    slack = 10 / 40  # a fortieth of the control points' spacing
    assert (dense >= moved[:3] - slack).all()
    assert (dense <= moved[3:] + slack).all()
    step = 0.2
    fine = grid_of([int(np.ceil(n)) for n in (moved[3:] - moved[:3] + 2) / step]) * step + moved[:3] - 1
    where = drawn.places(fine)
    held = fine[((where >= box[:3]) & (where <= box[3:])).all(1)]
    assert np.abs(held.min(0) - moved[:3]).max() < 3 * step
    assert np.abs(held.max(0) - moved[3:]).max() < 3 * step


def test_boxes_follow_a_moved_mask() -> None:
    mask = np.zeros((1, 40, 40, 40), np.uint8)
    mask[0, 12:26, 14:24, 10:28] = 1
    spec = AugmentationSpec(elastic_mm=(5, 5, 5), elastic_grid_mm=14, spatial_probability=1)
    for seed in range(12):
        drawn = draw(seed, spec, shape=(40, 40, 40), centre=(19, 19, 19))
        (box,) = drawn.corners(np.array([[11.5, 13.5, 9.5, 25.5, 23.5, 27.5]]))
        there = np.argwhere(drawn.sample(torch.from_numpy(mask), "nearest", outside=0)[0].numpy())
        np.testing.assert_allclose(box[:3], there.min(0) - 0.5, atol=1.0)
        np.testing.assert_allclose(box[3:], there.max(0) + 0.5, atol=1.0)
        assert np.abs(box - [11.5, 13.5, 9.5, 25.5, 23.5, 27.5]).max() > 0.2


@settings(max_examples=20)
@given(seeds, st.floats(0.5, 12))
def test_a_patch_of_one_slice_is_moved_in_its_plane_only(seed: int, thick: float) -> None:
    flat = STRONG.model_copy(update={"rotation_deg": (25.0, 0.0, 0.0)})
    drawn = draw(seed, flat, shape=(1, 20, 22), spacing_mm=(thick, 1.0, 1.0))
    where = drawn.places(grid_of((1, 20, 22)))
    np.testing.assert_allclose(where[:, 0], 14)
    assert np.ptp(drawn.elastic.displacement(grid_of((1, 20, 22)))[:, 1:], 0).min() > 0.1
    source = torch.arange(28.0).reshape(1, 28, 1, 1).expand(1, 28, 30, 32).contiguous()
    assert drawn.sample(source).eq(14).all()


def test_displacements_are_millimetres_within_what_was_asked_for() -> None:
    spec = AugmentationSpec(elastic_mm=(0, 2, 6), elastic_grid_mm=15, spatial_probability=1)
    spacing = np.array([4.0, 1.0, 0.5])
    largest = np.zeros(3)
    for seed in range(30):
        drawn = draw(seed, spec, spacing_mm=tuple(spacing), shape=(12, 40, 50))
        np.testing.assert_allclose(drawn.matrix[:3, :3], np.eye(3))
        np.testing.assert_allclose(np.array(drawn.elastic.spacing) * spacing, 15)
        moved = drawn.elastic.displacement(grid_of((12, 40, 50))) * spacing
        assert (np.abs(drawn.elastic.control).max((1, 2, 3)) * spacing <= [0, 2, 6]).all()
        largest = np.maximum(largest, np.abs(moved).max(0))
    assert largest[0] == 0
    assert 1 < largest[1] <= 2
    assert 3 < largest[2] <= 6


def test_elastic_maps_follow_their_key_and_can_be_off() -> None:
    first, again, other = draw(3), draw(3), draw(4)
    np.testing.assert_array_equal(first.elastic.control, again.elastic.control)
    assert not np.array_equal(first.elastic.control, other.elastic.control)
    assert draw(3, AugmentationSpec(spatial_probability=1)).elastic is None
    assert draw(3, STRONG.model_copy(update={"spatial_probability": 0.0})).elastic is None
    # control points closer than voxels would make the displacement of neighbours independent
    dense = AugmentationSpec(elastic_mm=(0.2, 0.2, 0.2), elastic_grid_mm=0.5, spatial_probability=1)
    assert draw(3, dense).elastic.spacing == (1, 1, 1)
