"""Turned and sheared grids: nearest neighbour of any data type, layouts, threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tests.volume.lattices import grids, turned
from tests.volume.references import places_in

from isocenter.volume import Grid, Volume, resample, resample_labels
from isocenter.volume.turned import resample_turned

SOURCE = turned((24, 30, 28), (2.0, 1.0, 1.5), degrees=(10, -20, 30), origin_mm=(5, 6, 7))
TARGET = turned((60, 40, 50), (0.9, 1.0, 0.8), degrees=(14, -12, 21), shear=0.2, origin_mm=(7, 9, 10))


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16, ">i2", np.int32, np.float32, np.float64, np.complex64])
def test_nearest_neighbours_keep_their_type_and_bits(dtype) -> None:
    values = np.random.default_rng(0).integers(0, 200, SOURCE.shape).astype(dtype)
    found = resample(Volume(values, SOURCE), TARGET, interpolation="nearest", fill=0).array[0]
    places = places_in(SOURCE, TARGET)
    expected = values[tuple(np.clip(np.rint(places), 0, np.array(SOURCE.shape) - 1).astype(int).T)]
    beyond = ((places < -0.5) | (places > np.array(SOURCE.shape) - 0.5)).any(-1)
    assert 0.1 < beyond.mean() < 0.9
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.ravel(), np.where(beyond, np.zeros(1, dtype), expected))


@settings(max_examples=30)
@given(
    grids(shapes=st.tuples(*[st.integers(1, 7)] * 3)), grids(shapes=st.tuples(*[st.integers(1, 7)] * 3)),
    st.permutations([0, 1, 2]), st.sets(st.sampled_from([0, 1, 2])), st.sampled_from(["nearest", "linear", "cubic"]),
)  # fmt: skip
def test_memory_layout_does_not_matter(source: Grid, target: Grid, order, flips, how: str) -> None:
    target = Grid(target.shape, np.column_stack([target.affine[:, :3], [*source.center_mm, 1]]))
    values = np.random.default_rng(0).normal(size=source.shape).astype(np.float32)
    stored = np.ascontiguousarray(np.flip(values.transpose(order), tuple(flips)))
    view = np.flip(stored, tuple(flips)).transpose(np.argsort(order))
    np.testing.assert_array_equal(view, values)
    found = [resample(Volume(v, source), target, interpolation=how).array for v in (values, view)]
    np.testing.assert_allclose(found[1], found[0], atol=0 if how == "nearest" else 1e-5)
    labels = [resample_labels((v > 0)[None].astype(np.uint8, order="K"), source, target) for v in (values, view)]
    np.testing.assert_array_equal(labels[1], labels[0])


def test_threads_do_not_change_results() -> None:
    values = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SOURCE.shape), 1).astype(np.float32)
    matrix = TARGET.index_map_to(SOURCE)
    for settings_ in ({}, {"widen": (1.5, 1.0, 2.0)}, {"cubic": True}):
        out = [np.empty(TARGET.shape, np.float32) for _ in range(2)]
        for threads, place in zip((1, 3), out, strict=True):
            resample_turned(values, matrix, place, threads=threads, **settings_)
        np.testing.assert_array_equal(out[0], out[1])


def test_labels_of_a_slightly_turned_grid_are_those_of_the_straight_one() -> None:
    straight = turned((20, 24, 24), (1, 1, 1))
    labels = (ndimage.gaussian_filter(np.random.default_rng(2).normal(size=straight.shape), 2) > 0.02).astype(np.uint8)
    labels[:, :4] = 255
    coarse = straight.respaced((1.7, 1.3, 1.9))
    steps = coarse.affine.copy()
    steps[:3, 0] += 1e-5 * steps[:3, 1]  # enough to go the other way through the code
    found = [resample_labels(labels[None], straight, Grid(coarse.shape, a)) for a in (coarse.affine, steps)]
    assert (found[0] != found[1]).mean() < 1e-3
    assert {0, 1, 255} == set(np.unique(found[1]))
