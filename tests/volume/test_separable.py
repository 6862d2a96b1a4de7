"""Resampling along axes: data types, layouts, threads; widened kernels against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.volume.references import weighted

from isocenter.volume import resample_array
from isocenter.volume.separable import resample_axes
from isocenter.volume.taps import axis_taps
from isocenter.volume.turned import resample_turned


def tables(shape, out, **settings_):
    return [axis_taps(n, (np.arange(m) + 0.5) * n / m - 0.5, **settings_) for n, m in zip(shape, out, strict=True)]


def resampled(values, taps, order=(0, 1, 2), threads=None) -> np.ndarray:
    shape = [0, 0, 0]
    for axis, table in zip(order, taps, strict=True):
        shape[axis] = len(table.first)
    out = np.full(shape, np.nan, np.float32)
    resample_axes(values, taps, order, out, threads=threads)
    return out


@pytest.mark.parametrize(
    "dtype", [np.bool_, np.int8, np.uint8, np.int16, ">i2", np.uint16, np.int32, np.float16, np.float32, np.float64]
)
def test_every_data_type_gives_the_values_of_float32(dtype) -> None:
    values = np.random.default_rng(0).integers(0, 100, (6, 7, 8)).astype(dtype)
    taps = tables(values.shape, (9, 5, 11))
    np.testing.assert_array_equal(resampled(values, taps), resampled(values.astype(np.float32), taps))


@settings(max_examples=40)
@given(
    st.tuples(*[st.integers(1, 7)] * 3), st.permutations([0, 1, 2]), st.permutations([0, 1, 2]),
    st.sets(st.sampled_from([0, 1, 2])), st.booleans(), st.integers(0, 9),
)  # fmt: skip
def test_memory_layout_does_not_matter(shape, stored, order, flips, cut: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    big = rng.integers(-900, 900, [2 * shape[a] + 1 for a in stored]).astype(np.int16)
    view = big.transpose(np.argsort(stored))[tuple(slice(1, 1 + n) if cut else slice(0, 2 * n, 2) for n in shape)]
    view = np.flip(view, tuple(flips))
    view.flags.writeable = False
    places = [rng.uniform(-1, n, rng.integers(1, 9)) for n in shape]
    taps = [axis_taps(n, p) for n, p in zip(shape, places, strict=True)]
    found = resampled(view, taps, order)
    points = np.stack(np.meshgrid(*places, indexing="ij"), -1).reshape(-1, 3)

    def linear(p, n):
        weights = np.zeros((len(p), n))
        p = np.clip(p, 0, n - 1)
        low = np.minimum(p.astype(int), max(n - 2, 0))
        weights[np.arange(len(p)), low] += 1 - (p - low)
        weights[np.arange(len(p)), np.minimum(low + 1, n - 1)] += p - low
        return weights

    expected = weighted(view, points, linear).reshape([len(p) for p in places])
    np.testing.assert_allclose(found.transpose(order), expected, atol=1e-3)


@pytest.mark.parametrize("settings_", [{}, {"cubic": True}, {"widen": 2.3}, {"cubic": True, "widen": 1.7}])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_results_are_the_same_bit_for_bit_with_any_number_of_threads(settings_, order) -> None:
    values = np.random.default_rng(0).normal(size=(40, 90, 80)).astype(np.float32)
    taps = tables(values.shape, (37, 70, 50), **settings_)
    one = resampled(values, taps, order, threads=1)
    for threads in (2, 3, 7):
        np.testing.assert_array_equal(resampled(values, taps, order, threads=threads), one)


@pytest.mark.parametrize(("mode", "cubic"), [("bilinear", False), ("bicubic", True)])
@pytest.mark.parametrize("factor", [2, 3, 5])
def test_shrinking_is_that_of_torch_with_antialias(mode: str, cubic: bool, factor: int) -> None:
    plane = np.random.default_rng(1).normal(size=(1, 20 * factor, 14 * factor)).astype(np.float32) * 100
    taps = [axis_taps(1, np.zeros(1)), *tables(plane.shape[1:], (20, 14), cubic=cubic, widen=float(factor))]
    expected = torch.nn.functional.interpolate(torch.from_numpy(plane[None]), size=(20, 14), mode=mode, antialias=True)
    # beyond the border torch leaves the kernel out, here the border is repeated
    inner = (slice(None), slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(resampled(plane, taps)[inner], expected[0].numpy()[inner], atol=2e-3)


@settings(max_examples=40)
@given(
    st.tuples(*[st.integers(1, 8)] * 3), st.tuples(*[st.integers(1, 8)] * 3), st.booleans(), st.floats(1, 3),
    st.sampled_from([None, -7.0]),
)  # fmt: skip
def test_the_kernel_for_turned_grids_agrees_where_they_are_not_turned(shape, out, cubic, widen, fill) -> None:
    values = np.random.default_rng(3).normal(size=shape).astype(np.float32) * 100
    matrix = np.diag([*(1.1 * n / m for n, m in zip(shape, out, strict=True)), 1.0])
    matrix[:3, 3] = -0.7, 0.3, -0.2
    steps = np.abs(np.diag(matrix)[:3])
    wide = tuple(float(max(1, s)) * widen for s in steps)
    found = np.empty(out, np.float32)
    resample_turned(values, matrix, found, widen=wide, cubic=cubic, fill=fill)
    places = [matrix[a, a] * np.arange(out[a]) + matrix[a, 3] for a in range(3)]
    # where the source is one voxel thick its only value is repeated, whatever the kernel
    taps = [axis_taps(n, p, cubic=cubic, widen=w) for n, p, w in zip(shape, places, wide, strict=True)]
    expected = resampled(values, taps)
    if fill is not None:
        for a, (p, n) in enumerate(zip(places, shape, strict=True)):
            np.moveaxis(expected, a, 0)[(p < -0.5 - 1e-6) | (p > n - 0.5 + 1e-6)] = fill
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_large_image_within_a_thousandth_of_a_unit() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(-1000, 3000, (1, 60, 96, 96)).astype(np.int16)
    shape = (40, 50, 50)
    matrix = np.diag([60 / 40, 96 / 50, 96 / 50, 1])
    matrix[:3, 3] = (np.diag(matrix)[:3] - 1) / 2
    found = resample_array(image, matrix, shape, antialias=False)
    from scipy import ndimage

    expected = ndimage.affine_transform(
        image[0].astype(np.float64), np.diag(matrix)[:3], matrix[:3, 3], shape, order=1, mode="nearest"
    )
    assert np.abs(found[0] - expected).max() < 1e-3
